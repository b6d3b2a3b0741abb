"""Stages: the steps of a detector's training, and what a stage that is no gradient descent may read of the training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from detzoo.types import ImageBatch, Targets

if TYPE_CHECKING:
    from detzoo.data.dataset import Dataset
    from detzoo.runtime.switches import Precision

Objective = Callable[[ImageBatch, Targets], dict[str, Tensor]]
"""Weighted loss terms, to be summed."""


class StageContext(ABC):
    """What a stage may read of the training that runs it. Training implements it; authors only use it."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Device of this process."""

    @property
    @abstractmethod
    def main(self) -> bool:
        """Whether this process writes files and prints; exactly one does."""

    @property
    @abstractmethod
    def precision(self) -> Precision:
        """Precision of the network."""

    @property
    @abstractmethod
    def out(self) -> Path:
        """The run folder. A stage writes into a folder of its own name there."""

    @property
    @abstractmethod
    def dataset(self) -> Dataset:
        """The training data."""

    @property
    @abstractmethod
    def data_facts(self) -> dict[str, Any]:
        """Name, split, number of images and classes of the training data: a stage keeps them with what it writes."""

    @abstractmethod
    def batches(self) -> Iterable[tuple[ImageBatch, Targets]]:
        """Every training image once, on every process, in the order and with the transforms of the training plan."""

    @abstractmethod
    def images(self, start: int = 0) -> Iterable[tuple[ImageBatch, Targets]]:
        """Training images from position ``start`` on, one per batch, in order, without augmentation.

        Images that cannot be read are left out; ``ImageBatch.index`` gives the position of each.
        """

    @abstractmethod
    def weights_after(self, stage: str) -> dict[str, Tensor]:
        """The detector's state dict at the end of an earlier stage."""

    @abstractmethod
    def progress(self, what: str, total: int, *, unit: str = "images") -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar; gives a function to call with the number of items just done.

        That function raises ``Interrupted`` after a signal: before each call the stage must have
        left the disk in order.
        """

    @abstractmethod
    def say(self, text: str) -> None:
        """Print one line."""

    @abstractmethod
    def share(self, *modules: nn.Module) -> None:
        """Wait for every process; then each has the main process's weights and buffers of ``modules``."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Base of all stages.

    Args:
        name: unique within the plan; names its checkpoint.
        start_from: ``previous`` stage, or the pretrained ``weights`` again.
        evaluate: False while the detector cannot detect yet, because one of its parts has not been trained.
    """

    name: str
    start_from: Literal["weights", "previous"] = "previous"
    evaluate: bool = True


@dataclass(frozen=True, kw_only=True)
class GradientStage(Stage):
    """Gradient descent.

    Args:
        train: globs over parameter names; the rest is frozen.
        losses: what is minimised; None for the detector's own ``losses``.
        prepare: makes ``losses`` when the stage begins or is resumed, for losses that need what an earlier stage has
            written.
        settings: fields of the training plan that differ in this stage; mappings edit what is nested.
    """

    train: tuple[str, ...] = ("*",)
    losses: Objective | None = None
    prepare: Callable[[StageContext], Objective] | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FittingStage(Stage):
    """Anything else that learns from the data: statistics of targets, extraction of features, SVMs.

    Args:
        fit: what it writes to the detector's state dict is saved in the checkpoint. If it is killed, it is called again
            with the same random numbers.
    """

    fit: Callable[[StageContext], None]
