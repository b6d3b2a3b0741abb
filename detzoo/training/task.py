"""What a run learns: a network, its data, and how it is judged. The trainer knows nothing else of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import nn

from detzoo.interfaces import Stage
from detzoo.training.plan import TrainPlan

if TYPE_CHECKING:
    from detzoo.runtime.drawing import ImageArray
    from detzoo.runtime.switches import Precision


class Batches(Protocol):
    """A source of batches, the same for the same epoch, from any place in it."""

    broken_images: dict[str, str]
    """Message by path, of the images that could not be read so far."""

    def batches(
        self, epoch: int, start: int, *, before: int = 0, total: int | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """(inputs, targets) of an epoch from batch ``start`` on; both have ``to(device)``.

        Args:
            epoch: decides order and augmentation.
            start: first batch that is given.
            before: batches of the stage before this epoch.
            total: batches of the stage; augmentations may know how far training is. None: nothing is done yet.
        """

    def at(self, targets: Any, share: float) -> Any:
        """The targets with the share of the stage (0..1) that is done before them, for losses that read it."""

    def paths(self, inputs: Any) -> list[str]:
        """Files of the images of a batch."""


class Evaluated(Protocol):
    """What an evaluation found."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """By name."""

    def write(self, folder: Path) -> Any:
        """Put it into files."""


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a process loads its share of the training data.

    Args:
        batch: images of one forward pass.
        seed: of order and augmentations.
        workers: processes that load.
        timeout: seconds within which they must give a batch; 0 waits for ever.
        rank: of this process.
        world: number of processes.
        channels_last: memory format of the images.
        pin_memory: whether they are copied to a GPU.
        whole: every image on every process, with those that are left over at the end.
    """

    batch: int
    seed: int
    workers: int
    timeout: float = 600.0
    rank: int = 0
    world: int = 1
    channels_last: bool = False
    pin_memory: bool = False
    whole: bool = False


class TrainingTask(ABC):
    """What is learnt. Detection is one; classification, for pretraining, another."""

    metric: ClassVar[str]
    """By which the best weights are kept; the higher the better."""
    curve: ClassVar[tuple[str, ...]]
    """Metrics that every row of the curve has."""
    extra_curve: ClassVar[tuple[str, ...]] = ()
    """Metrics that it has where they are measured."""

    name: str
    """For messages and checkpoints."""
    values: dict[str, Any]
    """Everything that decides what is built and how it learns, as plain values: a resumed run must have the same."""
    classes: tuple[str | None, ...]
    """Class names by label."""
    network: nn.Module
    """Its state dict is the checkpoint."""
    plan: TrainPlan

    @property
    @abstractmethod
    def data_facts(self) -> dict[str, Any]:
        """``name``, ``split``, ``images`` (that are trained on) and ``classes``; a resumed run must have the same."""

    @property
    @abstractmethod
    def evaluates(self) -> bool:
        """Whether there is anything to evaluate on."""

    @abstractmethod
    def stages(self) -> list[Stage]:
        """In order."""

    @abstractmethod
    def batches(self, plan: TrainPlan, loading: Loading) -> Batches:
        """The training data, by the plan of a stage."""

    @abstractmethod
    def evaluate(self, *, batch: int, precision: Precision, workers: int) -> Evaluated:
        """Judge the present weights."""

    @abstractmethod
    def keep(self, out: Path, found: Evaluated | None) -> None:
        """Write what belongs to the best weights, next to their checkpoint.

        Args:
            out: run folder.
            found: their evaluation; None after an epoch where there is nothing to evaluate on.
        """

    def drawn_predictions(self) -> dict[str, ImageArray]:
        """Some images with what the present weights find in them, by name, for trackers; none by default."""
        return {}

    @property
    def selection(self) -> dict[str, Any] | None:
        """The data by which the best weights are chosen, for results and checkpoints; None: the last are the result."""
        return None

    def opening_lines(self) -> list[str]:
        """What enters the training, for its first lines."""
        return []

    def starting_lines(self) -> list[str]:
        """What a new run says of the weights it starts from."""
        return []

    def recipe_text(self) -> str | None:
        """Contents of ``recipe.yaml`` in the run folder, or None for no such file."""
        return None
