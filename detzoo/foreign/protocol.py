"""The protocol of a foreign detector: what a Python object needs so that detzoo can run, score and time it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8]
Found: TypeAlias = tuple[Any, Any, Any]
"""Boxes [N,4] xyxy px of the image, scores [N] in 0..1, labels [N] 0..K-1: arrays, tensors or lists of numbers."""


@runtime_checkable
class Named(Protocol):
    """Whatever knows the names of its classes."""

    @property
    def names(self) -> Sequence[str | None]:
        """By label; None for outputs that mean nothing."""


@runtime_checkable
class Describing(Protocol):
    """Whatever says more of itself."""

    def describe(self) -> dict[str, Any]:
        """Plain values for protocols, as ``{"version": "1.2", "input": "640x640"}``.

        ``parameters`` (a number), ``weights_bytes``, ``score_threshold`` (below which it reports nothing), ``keep``
        (detections per image) and ``device`` are read by tables and warnings.
        """


class ForeignProgram(Named, Describing, Protocol):
    """A detector of anybody's.

    ``describe`` may be missing in what a user brings, and ``names`` where an options file has ``classes``.
    """

    def __call__(self, images: list[Image], /) -> Sequence[Found]:
        """Detect.

        Args:
            images: uint8 [H,W,3] RGB each, of any sizes; copies that it may change.

        Returns:
            for each image boxes float [N,4] xyxy px of that image, right and bottom exclusive, scores [N] in 0..1,
            and labels [N], whole numbers 0..K-1. Boxes that reach over the edge are cut; any order will do.
        """
