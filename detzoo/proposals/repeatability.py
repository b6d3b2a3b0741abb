"""Whether a method proposes the same windows again once the image has changed a little.

Proposals of the changed image are projected back into the original one and matched one to one with those of the
original, the greatest IoU first. The area under the recall of the original's proposals over IoU 0 to 1 is the mean of
their matched IoU; since large windows match more easily, it is taken in ten groups of window sizes, whose mean is the
repeatability.

Source: Hosang et al., "What makes for effective detection proposals?" (PAMI 2015, arXiv:1502.05082), section 3.
Deliberate differences: the groups lie evenly in the logarithm of the area between the method's own smallest and largest
window; of a rotated image a window's centre is projected back and its sides are kept, for the rectangle around the
rotated window would be larger than what it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset
from detzoo.errors import DataError
from detzoo.prediction.image_proposals import propose
from detzoo.proposals.method import Method
from detzoo.proposals.recall import overlap_matrix

if TYPE_CHECKING:
    from detzoo.interfaces import Proposer

ImageArray = NDArray[np.uint8]
Boxes = NDArray[np.float64]
Kind = Literal["scale", "rotation", "jpeg", "blur"]

BINS: Final = 10
MOST: Final = 1000
"""Best proposals of each image that are matched, as in the paper."""
LEVELS: Final[dict[Kind, tuple[float, ...]]] = {
    "scale": (0.5, 0.7, 0.9, 1.1, 1.4, 2.0),  # of the sides
    "rotation": (-20, -10, -5, 5, 10, 20),  # degrees
    "jpeg": (5, 10, 20, 50, 90),  # quality
    "blur": (1, 2, 4, 8),  # standard deviation of the Gaussian, px
}


class Changed(NamedTuple):
    """A changed image, and the way back.

    Args:
        image: uint8 [h,w,3] RGB.
        back: boxes [P,4] of it -> boxes [P,4] of the original.
        visible: boxes [P,4] of the original -> bool [P]: whether the changed image shows all of them.
    """

    image: ImageArray
    back: Callable[[Boxes], Boxes]
    visible: Callable[[Boxes], NDArray[np.bool_]]


def change(image: ImageArray, kind: Kind, level: float) -> Changed:
    """An image scaled, rotated, compressed or blurred by one of ``LEVELS``."""
    if kind == "scale":
        height, width = (max(1, round(side * level)) for side in image.shape[:2])
        factor = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
        way = cv2.INTER_AREA if level < 1 else cv2.INTER_CUBIC
        return Changed(_resized(image, (width, height), way), lambda boxes: boxes * factor, _all)
    if kind == "rotation":
        return _rotated(image, level)
    if kind == "jpeg":
        _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(level)])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        return Changed(np.asarray(decoded, np.uint8), _same, _all)
    return Changed(np.asarray(cv2.GaussianBlur(image, (0, 0), level), np.uint8), _same, _all)


def _same(boxes: Boxes) -> Boxes:
    return boxes


def _all(boxes: Boxes) -> NDArray[np.bool_]:
    return np.ones(len(boxes), np.bool_)


def _resized(image: ImageArray, size: tuple[int, int], way: int) -> ImageArray:
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def _rotated(image: ImageArray, degrees: float) -> Changed:
    """Counter-clockwise about the centre; cut to the largest rectangle of the same shape that is all image."""
    height, width = image.shape[:2]
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    wide, tall = width * abs(cos) + height * abs(sin), width * abs(sin) + height * abs(cos)
    share = min(width / wide, height / tall)
    size = np.array([max(1, int(width * share)), max(1, int(height * share))])
    # y points down: counter-clockwise on the screen maps (x, y) to (x cos + y sin, y cos - x sin)
    forward = np.array([[cos, sin], [-sin, cos]])
    middle, new_middle = np.array([width, height]) / 2, size / 2
    # OpenCV counts from the middle of the first pixel, boxes from its corner
    shift = new_middle - 0.5 - forward @ (middle - 0.5)
    matrix = np.hstack([forward, shift[:, None]])
    cut = cv2.warpAffine(image, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_CUBIC)

    def back(boxes: Boxes) -> Boxes:
        return _moved(boxes, new_middle, forward.T, middle)

    def visible(boxes: Boxes) -> NDArray[np.bool_]:
        there = _moved(boxes, middle, forward, new_middle)
        return np.asarray((there[:, :2] >= 0).all(axis=1) & (there[:, 2:] <= size).all(axis=1))

    return Changed(np.asarray(cut, np.uint8), back, visible)


def _moved(boxes: Boxes, start: NDArray[Any], turn: NDArray[Any], end: NDArray[Any]) -> Boxes:
    """Centres turned about ``start``, which comes to ``end``; sides kept."""
    centres, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    moved = (centres - start) @ turn.T + end
    return np.concatenate([moved - half, moved + half], axis=1)


def matched_overlaps(overlaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of each row with the column that a greedy one-to-one matching gives it, the greatest IoU first; else 0.

    Rounds of pairs that are each other's best: all of them are what the greedy matching takes, in some order.

    Args:
        overlaps: float64 [P,Q].
    """
    found = np.zeros(len(overlaps))
    rows, columns = np.arange(overlaps.shape[0]), np.arange(overlaps.shape[1])
    left = overlaps
    while left.size and left.max() > 0:
        best = left.argmax(axis=1)
        mutual = np.flatnonzero((left.argmax(axis=0)[best] == np.arange(len(left))) & (left.max(axis=1) > 0))
        found[rows[mutual]] = left[mutual, best[mutual]]
        keep_rows = np.setdiff1d(np.arange(len(rows)), mutual)
        keep_columns = np.setdiff1d(np.arange(len(columns)), best[mutual])
        rows, columns = rows[keep_rows], columns[keep_columns]
        left = left[np.ix_(keep_rows, keep_columns)]
    return found


def repeatability(areas: NDArray[np.float64], overlaps: NDArray[np.float64], edges: NDArray[np.float64]) -> float:
    """Mean over groups of window sizes of the mean matched IoU; NaN without windows.

    Args:
        areas: [P] px of the original's windows.
        overlaps: [P] IoU of each with its match.
        edges: [BINS+1] areas between which the groups lie; groups without windows do not count.
    """
    group = np.clip(np.searchsorted(edges, areas, side="right") - 1, 0, len(edges) - 2)
    count = np.bincount(group, minlength=len(edges) - 1)
    total = np.bincount(group, overlaps, minlength=len(edges) - 1)
    return float((total[count > 0] / count[count > 0]).mean()) if count.any() else math.nan


@dataclass(frozen=True)
class RepeatJob:
    """One image under every change; travels to the workers.

    Args:
        dataset: of the images.
        method: that proposes.
        levels: of each change.
    """

    dataset: Dataset
    method: Method
    levels: dict[Kind, tuple[float, ...]]

    @cached_property
    def proposer(self) -> Proposer:
        """Built where it is used."""
        return self.method.build()

    def __call__(self, position: int) -> dict[tuple[Kind, float], tuple[Boxes, Boxes]] | None:
        """(areas [P], matched IoU [P]) of each change; None where the image cannot be read."""
        try:
            image = self.dataset.sample(position, masks=False).image
        except DataError:
            return None
        reference = propose(self.proposer, image)[:MOST].astype(np.float64)
        found = {}
        for kind, levels in self.levels.items():
            for level in levels:
                changed = change(image, kind, level)
                again = changed.back(propose(self.proposer, changed.image)[:MOST].astype(np.float64))
                seen = reference[changed.visible(reference)]
                areas = (seen[:, 2] - seen[:, 0]) * (seen[:, 3] - seen[:, 1])
                found[kind, level] = areas, matched_overlaps(overlap_matrix(seen, again))
        return found


def scores(
    images: Sequence[dict[tuple[Kind, float], tuple[Boxes, Boxes]]], levels: dict[Kind, tuple[float, ...]]
) -> dict[str, dict[str, float]]:
    """Repeatability by kind of change and level, over all images."""
    every = np.concatenate([np.zeros(0), *(areas for each in images for areas, _ in each.values())])
    low, high = (every.min(), every.max()) if len(every) else (1.0, 1.0)
    edges = np.geomspace(low, max(high, low * (1 + 1e-9)), BINS + 1)
    return {
        kind: {
            f"{level:g}": repeatability(
                np.concatenate([np.zeros(0), *(each[kind, level][0] for each in images)]),
                np.concatenate([np.zeros(0), *(each[kind, level][1] for each in images)]),
                edges,
            )
            for level in values
        }
        for kind, values in levels.items()
    }
