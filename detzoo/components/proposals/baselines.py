"""Regions that do not look at the image: what every proposal method must beat."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.interfaces import Proposer

Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Ratio = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0)]


class Uniform(Proposer):
    """Boxes whose centre, square root of area and logarithm of aspect ratio are sampled uniformly.

    They depend on the image's size and the seed alone. A box that reaches beyond the image is cut to it.

    Args:
        count: boxes per image.
        scale: range of the square root of the area, relative to that of the image.
        aspect: range of width to height.
        seed: of the draw.

    Source: Hosang et al., "What makes for effective detection proposals?" (PAMI 2015), section 2.3. Difference: there
    the ranges are those of VOC 2007's annotations less the outer 1 %, here they are fields, relative to the image.
    """

    def __init__(
        self,
        *,
        count: Count = 1000,
        scale: tuple[Share, Share] = (0.05, 1.0),
        aspect: tuple[Ratio, Ratio] = (0.25, 4.0),
        seed: Seed = 0,
    ) -> None:
        self.count, self.scale, self.aspect, self.seed = count, scale, aspect, seed

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [count,4] in no order, and scores [count] of 1."""
        # seeded per image size: the same boxes in every worker, and on every call
        rng, (height, width) = np.random.default_rng([self.seed, *image.shape[:2]]), image.shape[:2]
        centre = rng.uniform(0, 1, (self.count, 2)) * (width, height)
        side = rng.uniform(min(self.scale), max(self.scale), self.count) * math.sqrt(height * width)
        log_aspect = rng.uniform(math.log(min(self.aspect)), math.log(max(self.aspect)), self.count)
        return inside(centre, side, log_aspect, image)


class Gaussian(Proposer):
    """Boxes whose centre, square root of area and logarithm of aspect ratio are sampled from normal distributions.

    Args:
        count: boxes per image.
        centre_std: deviation of the centre from the image's, relative to its sides.
        scale: mean and deviation of the square root of the area, relative to that of the image.
        log_aspect: mean and deviation of the logarithm of width to height.
        seed: of the draw.

    Source: Hosang et al. (PAMI 2015), section 2.3. Differences: there one Gaussian with full covariance is fitted to
    VOC 2007, here the four numbers are independent; the defaults are close to the moments of COCO128's boxes.
    """

    def __init__(
        self,
        *,
        count: Count = 1000,
        centre_std: Ratio = 0.23,
        scale: tuple[Ratio, Ratio] = (0.2, 0.21),
        log_aspect: tuple[float, Ratio] = (-0.1, 0.78),
        seed: Seed = 0,
    ) -> None:
        self.count, self.centre_std, self.scale = count, centre_std, scale
        self.log_aspect, self.seed = log_aspect, seed

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [count,4] in no order, and scores [count] of 1."""
        rng, (height, width) = np.random.default_rng([self.seed, *image.shape[:2]]), image.shape[:2]
        centre = np.clip(rng.normal(0.5, self.centre_std, (self.count, 2)), 0, 1) * (width, height)
        side = np.abs(rng.normal(*self.scale, self.count)) * math.sqrt(height * width)
        return inside(centre, side, rng.normal(*self.log_aspect, self.count), image)


class SlidingWindow(Proposer):
    """Windows on regular grids, as many of each size, the largest first.

    Args:
        count: approximate windows per image: each size gets its share, laid out in whole rows and columns.
        scales: square roots of the area, relative to that of the image.
        aspects: widths to heights.

    Source: Hosang et al. (PAMI 2015), section 2.3, after BING's window sizes.
    """

    def __init__(
        self,
        *,
        count: Count = 1000,
        scales: tuple[Share, ...] = (0.1, 0.2, 0.35, 0.55, 0.8),
        aspects: tuple[Ratio, ...] = (0.5, 1.0, 2.0),
    ) -> None:
        self.count, self.scales, self.aspects = count, scales, aspects

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [P,4], P about ``count``, and scores [P] of 1."""
        height, width = image.shape[:2]
        share = max(1, self.count // (len(self.scales) * len(self.aspects)))
        boxes = [np.zeros((0, 4))]  # concatenate needs one array
        for scale in sorted(self.scales, reverse=True):
            for aspect in self.aspects:
                side = scale * math.sqrt(height * width)
                wide = min(width, max(1.0, side * math.sqrt(aspect)))
                tall = min(height, max(1.0, side / math.sqrt(aspect)))
                boxes.append(_grid(width, height, wide, tall, share))
        found = np.concatenate(boxes).astype(np.float32)
        return found, np.ones(len(found), np.float32)


def inside(
    centre: NDArray[np.float64], side: NDArray[np.float64], log_aspect: NDArray[np.float64], image: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes [P,4] cut to the image, at least a pixel (or the image) in both directions, and scores of 1.

    Args:
        centre: [P,2] px, x and y.
        side: [P] px, square root of the area.
        log_aspect: [P] logarithm of width to height.
        image: uint8 [H,W,3], for its size.
    """
    limit = np.array(image.shape[1::-1], np.float64)
    half = np.stack([side * np.exp(log_aspect / 2), side * np.exp(-log_aspect / 2)], axis=1) / 2
    low, high = np.clip(centre - half, 0, limit), np.clip(centre + half, 0, limit)  # [P,2] each
    middle = np.clip((low + high) / 2, np.minimum(0.5, limit / 2), limit - np.minimum(0.5, limit / 2))
    half = np.maximum((high - low) / 2, np.minimum(0.5, limit / 2))
    boxes = np.concatenate([np.maximum(middle - half, 0), np.minimum(middle + half, limit)], axis=1)
    return boxes.astype(np.float32), np.ones(len(boxes), np.float32)


def _grid(width: float, height: float, wide: float, tall: float, count: int) -> NDArray[np.float64]:
    """About ``count`` windows [P,4] of one size, evenly over the room that they have."""
    across, down = width - wide, height - tall
    # columns : rows = room across : room down, a row or column where there is none
    columns = max(1, round(math.sqrt(count * across / down))) if down > 0 else count
    columns = 1 if across <= 0 else min(columns, count)
    rows = max(1, count // columns) if down > 0 else 1
    left = np.linspace(0, across, columns) if columns > 1 else np.array([across / 2])
    top = np.linspace(0, down, rows) if rows > 1 else np.array([down / 2])
    x, y = (grid.ravel() for grid in np.meshgrid(left, top))
    return np.stack([x, y, x + wide, y + tall], axis=1)
