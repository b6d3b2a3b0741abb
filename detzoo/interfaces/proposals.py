"""Proposals: the first stage of a two-stage detector; Proposer: image-level regions made in the loader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from detzoo.feature import Component
from detzoo.types import Candidates, FeatureMaps, ImageBatch, Targets


class Proposals(nn.Module, Component, ABC):
    """Computes regions from feature maps, with its own loss."""

    kind: ClassVar[str] = "proposals"
    proposer: Proposer | None = None
    """Makes the regions from the image alone, in the loader and in ``predict``; None where feature maps are read."""
    training_top_k: int | None = None
    """Maximum number of regions per image in training; None if all are taken or it is unknown."""
    __call__: Callable[..., Candidates]

    def compiled_parts(self) -> tuple[nn.Module, ...]:
        """Modules that ``--compile`` compiles; by default none."""
        return ()

    @abstractmethod
    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        """Regions [B,N] in network px, with scores, best first, without gradient."""

    def places(self, features: FeatureMaps, batch: ImageBatch) -> Candidates | None:
        """The dense candidates from which its regions are selected, for drawings; by default None."""
        return None

    @abstractmethod
    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        """Regions for training, and the named loss terms of this stage."""


class Proposer(Component, ABC):
    """Computes regions from the image alone, in NumPy, in the loader's workers: selective search, files, baselines."""

    kind: ClassVar[str] = "proposer"

    @abstractmethod
    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Propose.

        Args:
            image: uint8 [H,W,3] RGB.

        Returns:
            boxes float32 [P,4] xyxy px, best first, and scores float32 [P].
        """


@runtime_checkable
class Segmenter(Protocol):
    """Optional interface of a Proposer: the segments that its regions are made of, for ``proposals show``."""

    def segments(self, image: NDArray[np.uint8], k: float) -> NDArray[np.int32]:
        """Segments of an image.

        Args:
            image: uint8 [H,W,3] RGB.
            k: the scale of observation: a larger value gives larger segments.

        Returns:
            int32 [H,W]: 0, 1, 2, ... by segment.
        """
