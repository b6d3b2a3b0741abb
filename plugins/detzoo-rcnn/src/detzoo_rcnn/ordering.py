"""In which order the regions of many groupings are proposed, and which of them are the same box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detzoo_rcnn.grouping import Hierarchy

Order: TypeAlias = Literal["lasting", "rank"]


def values_of(hierarchies: Sequence[Hierarchy], order: Order, seed: int) -> NDArray[np.float64]:
    """A number for every region, the smallest of which is proposed first.

    Counted from the end of its grouping a region is the i-th; the region that took it in is the (j-1)-th, j is 1 for
    the last. RND is even in [0, 1).

    - ``rank``: i x RND, as in Uijlings et al. 2013, section 3.3;
    - ``lasting``: i^0.25 x j^0.75 x RND: a small region that long stayed apart from its neighbours comes earlier.
    """
    rng = np.random.default_rng(seed)
    values = [np.zeros(0)]
    for found in hierarchies:
        total, start = len(found.boxes), len(found.boxes) - len(found.parts)
        value = np.arange(total, 0, -1, dtype=np.float64)
        if order == "lasting":
            taken = np.full(total, total)
            taken[found.parts.T] = np.arange(start, total)
            value = value**0.25 * (total + 1.0 - taken) ** 0.75
        values.append(value)
    together = np.concatenate(values)
    return together * rng.random(len(together))


def distinct(boxes: NDArray[np.float64], values: NDArray[np.float64], near: float) -> tuple[NDArray[np.int64], int]:
    """Rows of different boxes, the smallest value first; those near to an earlier one after all others.

    Args:
        boxes: float64 [P,4] xyxy px.
        values: float64 [P].
        near: IoU above which a box is near to another; 1 for none.

    Returns:
        int64: of equal boxes, the row with the smallest value; and how many of them are near to no earlier one.
    """
    order = np.argsort(values, kind="stable")
    _, first = np.unique(boxes[order], axis=0, return_index=True)
    order = order[np.sort(first)]
    if near >= 1:
        return np.asarray(order), len(order)
    by_left = np.argsort(boxes[order, 0], kind="stable")
    place = np.empty_like(by_left)
    place[by_left] = np.arange(len(by_left))
    late = _near_an_earlier_one(boxes[order], by_left, place, near)
    return np.concatenate([order[~late], order[late]]), int((~late).sum())


@njit(cache=True, nogil=True)
def _near_an_earlier_one(
    boxes: NDArray[np.float64], by_left: NDArray[np.int64], place: NDArray[np.int64], near: float
) -> NDArray[np.bool_]:
    """Which boxes overlap an earlier one, itself near to none, by more than ``near``.

    ``place`` is where each of them is in ``by_left``.
    """
    late = np.zeros(len(boxes), np.bool_)
    for box in range(len(boxes)):
        if late[box]:
            continue
        # IoU > t needs shared / joint width > t, so left edges differ by less than (1 - t) / t of the width
        reach = (boxes[box, 2] - boxes[box, 0]) * (1 - near) / near
        for step in (-1, 1):
            spot = place[box] + step
            while 0 <= spot < len(boxes) and abs(boxes[by_left[spot], 0] - boxes[box, 0]) <= reach:
                other = by_left[spot]
                if other > box and _iou(boxes[box], boxes[other]) > near:
                    late[other] = True
                spot += step
    return late


@njit(cache=True, nogil=True)
def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))
