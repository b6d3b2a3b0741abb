"""Flips and quarter turns: exact, no pixel is interpolated, no box is lost."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.interfaces import Draw, Transform
from detzoo.runtime.contiguous import contiguous
from detzoo.types import Sample

Probability = Annotated[float, Field(ge=0, le=1)]


class Flip(Transform):
    """Left becomes right. Boxes are continuous: x goes to W - x.

    Args:
        p: how often.
    """

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the flipped sample, or the same one."""
        return flip(sample) if rng.random() < self.p else sample


class VerticalFlip(Transform):
    """Top becomes bottom; for images without an up, as micrographs.

    Args:
        p: how often.
    """

    def __init__(self, *, p: Probability = 0.5) -> None:
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the flipped sample, or the same one."""
        # half a turn and a mirror: top becomes bottom
        return turn(turn(flip(sample))) if rng.random() < self.p else sample


class QuarterTurn(Transform):
    """Turn by 90, 180 or 270 degrees; for images without an up.

    Args:
        p: how often; the three turns are equally likely.
    """

    def __init__(self, *, p: Probability = 0.75) -> None:
        self.p = p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the turned sample, or the same one."""
        if rng.random() >= self.p:
            return sample
        for _ in range(int(rng.integers(1, 4))):
            sample = turn(sample)
        return sample


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    width = sample.image.shape[1]

    def mirrored(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        x1, y1, x2, y2 = boxes.T
        return np.stack([width - x2, y1, width - x1, y2], axis=1)

    return dataclasses.replace(
        sample,
        image=contiguous(sample.image[:, ::-1]),
        boxes=mirrored(sample.boxes),
        masks=None if sample.masks is None else contiguous(sample.masks[:, :, ::-1]),
        proposals=None if sample.proposals is None else mirrored(sample.proposals),
    )


def turn(sample: Sample) -> Sample:
    """Turn by 90 degrees counter-clockwise: (x, y) goes to (y, W - x)."""
    width = sample.image.shape[1]

    def turned(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        x1, y1, x2, y2 = boxes.T
        return np.stack([y1, width - x2, y2, width - x1], axis=1)

    return dataclasses.replace(
        sample,
        image=contiguous(np.rot90(sample.image)),
        boxes=turned(sample.boxes),
        masks=None if sample.masks is None else contiguous(np.rot90(sample.masks, axes=(1, 2))),
        proposals=None if sample.proposals is None else turned(sample.proposals),
    )
