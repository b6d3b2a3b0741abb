"""Hierarchical grouping: the two most similar neighbours become one region, until one is left.

Similarities and grouping share a file because numba's cache looks at the file of the outermost function alone.

N regions at first, 2N-1 at last; C channels; D columns of a histogram.

Source: Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition", IJCV 2013, algorithm 1.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from detzoo_rcnn.features import Regions
from detzoo_rcnn.strategies import Similarity


@dataclass(frozen=True)
class Hierarchy:
    """The regions of one grouping: N of the segmentation, then one for each merging, the whole image last.

    Args:
        boxes: int32 [2N-1,4] xyxy px, right and bottom exclusive.
        size: int32 [2N-1] px.
        parts: int32 [N-1,2]: which two regions each merging joined.
        similarity: float32 [N-1]: how similar they were.
    """

    boxes: NDArray[np.int32]
    size: NDArray[np.int32]
    parts: NDArray[np.int32]
    similarity: NDArray[np.float32]


def grouped(regions: Regions, strategy: tuple[Similarity, ...], area: int) -> Hierarchy:
    """Group regions by the sum of some similarities.

    Histograms, sizes and boxes of a union come from those of its parts, never from pixels. Of equally similar pairs the
    older is merged.

    Args:
        regions: of a segmentation; not changed.
        strategy: which similarities: colour, texture, size, fill.
        area: of the image, px.
    """
    used = [getattr(regions, kind) for kind in ("colour", "texture") if kind in strategy]
    # their intersections are summed, so histograms side by side are one histogram
    histograms = np.concatenate(used, axis=1) if used else np.zeros((len(regions.size), 0), np.float32)
    size, boxes = _for_unions(regions.size), _for_unions(regions.boxes)
    everyone, nobody = np.arange(len(size)), np.full(len(size), -1)
    lists = _neighbour_lists(regions.neighbours, len(size))
    kinds = "size" in strategy, "fill" in strategy
    state = _State(histograms, size, boxes, everyone.copy(), everyone, *lists, nobody, *kinds, np.float32(area))
    parts, similarity = _grouped(state, regions.neighbours)
    return Hierarchy(boxes, size, parts, similarity)


def _for_unions(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """A copy with rows for the N-1 unions."""
    return np.concatenate([values, np.zeros_like(values[1:])])


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def intersection(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Sum over the bins of the smaller value; float32 [D] each."""
    total = np.float32(0)
    for column in range(len(a)):
        total += min(a[column], b[column])
    return total


@njit(cache=True, nogil=True)
def size_similarity(size_a: int, size_b: int, area: np.float32) -> np.float32:
    """1 - (size_a + size_b) / area: small regions merge early."""
    return np.float32(1) - np.float32(size_a + size_b) / area


@njit(cache=True, nogil=True)
def fill_similarity(
    box_a: NDArray[np.int32], box_b: NDArray[np.int32], size_a: int, size_b: int, area: np.float32
) -> np.float32:
    """1 - (area of the box around both - size_a - size_b) / area: regions that leave no gap merge early."""
    width = max(box_a[2], box_b[2]) - min(box_a[0], box_b[0])
    height = max(box_a[3], box_b[3]) - min(box_a[1], box_b[1])
    return np.float32(1) - np.float32(np.int64(width) * height - size_a - size_b) / area


@njit(cache=True, nogil=True)
def merge_histograms(into: NDArray[np.float32], other: NDArray[np.float32], size: int, size_other: int) -> None:
    """Make ``into`` the histogram of the union: the mean, weighted by size; float32 [D] each."""
    share = np.float32(size) / np.float32(size + size_other)
    for column in range(len(into)):
        into[column] = into[column] * share + other[column] * (np.float32(1) - share)


class _State(NamedTuple):
    """What changes while regions are grouped; a row for each region there will be.

    Neighbours are linked lists, so that a union's is both of its parts' in one step. Their entries may name regions
    that became part of others since.
    """

    histograms: NDArray[np.float32]
    size: NDArray[np.int32]
    boxes: NDArray[np.int32]
    row: NDArray[np.int64]  # of the histogram; a union takes that of its first part
    parent: NDArray[np.int64]
    head: NDArray[np.int64]
    tail: NDArray[np.int64]
    following: NDArray[np.int64]  # of each entry, -1 at the end
    named: NDArray[np.int64]  # the region that an entry names
    seen: NDArray[np.int64]
    by_size: bool
    by_fill: bool
    area: np.float32


@njit(cache=True, nogil=True)
def _grouped(state: _State, neighbours: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    start, total = len(state.histograms), len(state.size)
    parts, similarity = np.empty((start - 1, 2), np.int32), np.empty(start - 1, np.float32)
    # the most similar first, of equals the pair of the older regions
    heap = [(-_similar(state, a, b), int(b), int(a)) for a, b in neighbours]
    heapq.heapify(heap)
    for union in range(start, total):
        value, b, a = heapq.heappop(heap)
        while state.parent[a] != a or state.parent[b] != b:  # one of them is part of another by now
            value, b, a = heapq.heappop(heap)
        parts[union - start, 0], parts[union - start, 1], similarity[union - start] = a, b, -value
        _unite(state, a, b, union)
        entry = state.head[union]
        while entry >= 0:
            other = state.named[entry]
            heapq.heappush(heap, (-_similar(state, other, union), union, int(other)))
            entry = state.following[entry]
    return parts, similarity


@njit(cache=True, nogil=True)
def _similar(state: _State, a: int, b: int) -> np.float32:
    found = intersection(state.histograms[state.row[a]], state.histograms[state.row[b]])
    size_a, size_b = state.size[a], state.size[b]
    if state.by_size:
        found += size_similarity(size_a, size_b, state.area)
    if state.by_fill:
        found += fill_similarity(state.boxes[a], state.boxes[b], size_a, size_b, state.area)
    return found


@njit(cache=True, nogil=True)
def _unite(state: _State, a: int, b: int, union: int) -> None:
    """Fill the row of the union of two regions, and list each of its neighbours once."""
    row, size, boxes = state.row, state.size, state.boxes
    merge_histograms(state.histograms[row[a]], state.histograms[row[b]], size[a], size[b])
    row[union], size[union] = row[a], size[a] + size[b]
    for side in range(2):
        boxes[union, side] = min(boxes[a, side], boxes[b, side])
        boxes[union, side + 2] = max(boxes[a, side + 2], boxes[b, side + 2])
    state.parent[a] = state.parent[b] = union
    state.seen[union] = union
    state.following[state.tail[a]] = state.head[b]
    state.head[union], state.tail[union] = state.head[a], -1
    entry = state.head[union]
    while entry >= 0:
        other, after, before = _alive(state.parent, state.named[entry]), state.following[entry], state.tail[union]
        if state.seen[other] != union:
            state.seen[other], state.named[entry], state.tail[union] = union, other, entry
        elif before >= 0:  # itself, or met already: the list loses the entry
            state.following[before] = after
        else:
            state.head[union] = after
        entry = after


@njit(cache=True, nogil=True)
def _alive(parent: NDArray[np.int64], region: int) -> int:
    """The region that another is part of by now."""
    while parent[region] != region:
        parent[region] = parent[parent[region]]
        region = parent[region]
    return region


@njit(cache=True, nogil=True)
def _neighbour_lists(
    neighbours: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Linked lists of each region's neighbours: first entry, last entry, the entry after each, the region it names."""
    head, tail = np.full(total, -1), np.full(total, -1)
    following, named = np.full(2 * len(neighbours), -1), np.empty(2 * len(neighbours), np.int64)
    for entry in range(2 * len(neighbours)):
        region = neighbours[entry // 2, entry % 2]
        named[entry] = neighbours[entry // 2, 1 - entry % 2]
        if head[region] < 0:
            head[region] = entry
        else:
            following[tail[region]] = entry
        tail[region] = entry
    return head, tail, following, named
