"""Transform: an augmentation of one image, or of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import numpy as np

from detzoo.feature import Component
from detzoo.types import Sample


class Draw(Protocol):
    """Gives another image of the dataset to the transform that is being applied."""

    def __call__(self, *, plain: bool = False) -> Sample:
        """A random sample of the dataset; it may be the same image.

        Args:
            plain: without transforms; else with the transforms before this one applied.
        """


class Transform(Component, ABC):
    """An augmentation: Sample -> Sample in NumPy. All randomness comes from the generator that is passed in."""

    kind: ClassVar[str] = "transform"
    draws: ClassVar[int] = 0
    """Maximum number of other images that one call uses."""
    needs_masks: ClassVar[bool] = False
    """Whether it reads ``Sample.masks``, so that the loader also decodes them for detectors without masks."""
    active: tuple[float, float] = (0.0, 1.0)
    """The part of the training in which it is used, from the first fraction up to the second. The build sets it from
    the recipe's ``active``; constructors have no such parameter."""

    @abstractmethod
    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return a new sample; the given one is not changed.

        Args:
            sample: the image with its annotations.
            rng: the only source of randomness.
            draw: gives another image, for mosaic and the like.
        """
