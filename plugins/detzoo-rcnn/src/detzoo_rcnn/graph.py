"""Graphs of pixels: which are neighbours, and how much they differ; edges come sorted by weight.

H, W height and width of the image, C channels, E edges; pixels are counted row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

GraphKind: TypeAlias = Literal["grid8", "grid4", "nearest"]


@dataclass(frozen=True)
class Edges:
    """Edges of a graph, lightest first; equal ones in the order in which they were made.

    Args:
        first: int32 [E], a node of each.
        second: int32 [E], the other node.
        weight: float32 [E], at least 0.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    weight: NDArray[np.float32]


def smoothed(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.float32]:
    """Gaussian smoothing against digitisation artefacts.

    Args:
        pixels: uint8 [H,W,C].
        sigma: px; 0 leaves the image as it is.

    Returns:
        float32 [H,W,C].
    """
    found = pixels.astype(np.float32)
    if sigma > 0:
        found = cast("NDArray[Any]", cv2.GaussianBlur(found, (0, 0), sigma)).reshape(pixels.shape)
    return np.ascontiguousarray(found, np.float32)


def edges_of(pixels: NDArray[np.float32], graph: GraphKind, neighbours: int = 10) -> Edges:
    """Edges between neighbouring pixels; the weight is the Euclidean distance of their colours.

    Args:
        pixels: float32 [H,W,C], smoothed.
        graph: ``grid8``: every pixel and the 8 around it; ``grid4``: the 4 adjacent ones; ``nearest``: its nearest in
            (x, y, colour), so that regions may lie in several pieces; there the weight is the distance in that space.
        neighbours: of a pixel, for ``nearest``.

    Source: Felzenszwalb and Huttenlocher 2004, sections 5 and 6.
    """
    if graph == "nearest":
        return sorted_edges(*_nearest(pixels, neighbours))
    return _grid(pixels, 4 if graph == "grid8" else 2)


def sorted_edges(first: NDArray[np.int32], second: NDArray[np.int32], weight: NDArray[np.float32]) -> Edges:
    """Edges in order: lightest first, equal ones as given."""
    keys = np.arange(len(weight), dtype=np.uint64) | (np.float32(weight).view(np.uint32).astype(np.uint64) << 32)
    order = _ascending(keys) & 0xFFFFFFFF
    return Edges(first[order], second[order], weight[order])


def _grid(pixels: NDArray[np.float32], directions: int) -> Edges:
    return Edges(*_unpacked(_ascending(_grid_keys(pixels, directions)), pixels.shape[1], directions))


@njit(cache=True, nogil=True)
def _ascending(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sort by the upper 32 bits, the bits of a weight: of a float that is not negative they order as the number does.

    A radix sort of two halves: stable, and many times faster than a stable comparison sort. ``keys`` is overwritten.
    """
    source, target = keys, np.empty_like(keys)
    for shift in (np.uint64(32), np.uint64(48)):
        start = np.zeros((1 << 16) + 1, np.int64)
        for key in source:
            start[((key >> shift) & np.uint64(0xFFFF)) + np.uint64(1)] += 1
        for digit in range(1 << 16):
            start[digit + 1] += start[digit]
        for key in source:
            digit = (key >> shift) & np.uint64(0xFFFF)
            target[start[digit]] = key
            start[digit] += 1
        source, target = target, source
    return source


@njit(cache=True, nogil=True)
def _grid_keys(pixels: NDArray[np.float32], directions: int) -> NDArray[np.uint64]:
    """Bits of each edge's weight, and below them pixel x directions + direction (right, down, and both diagonals)."""
    height, width, channels = pixels.shape
    weights = np.empty(height * width * directions, np.float32)
    numbers = np.empty(height * width * directions, np.uint64)
    count = 0
    for y in range(height):
        for x in range(width):
            for direction in range(directions):
                down = y + (direction > 0)
                across = x + (1 if direction % 2 == 0 else 0)
                if direction == 1:
                    across = x
                elif direction == 3:
                    across = x - 1
                if down == height or across == width or across < 0:
                    continue
                total = np.float32(0)
                for channel in range(channels):
                    difference = pixels[y, x, channel] - pixels[down, across, channel]
                    total += difference * difference
                weights[count] = np.sqrt(total)
                numbers[count] = (y * width + x) * directions + direction
                count += 1
    bits = weights[:count].view(np.uint32)
    keys = numbers[:count]
    for edge in range(count):
        keys[edge] |= np.uint64(bits[edge]) << np.uint64(32)
    return keys


@njit(cache=True, nogil=True)
def _unpacked(
    keys: NDArray[np.uint64], width: int, directions: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    count = len(keys)
    first, second = np.empty(count, np.int32), np.empty(count, np.int32)
    bits = np.empty(count, np.uint32)
    shift = np.uint64(2 if directions == 4 else 1)
    steps = np.array([1, width, width + 1, width - 1], np.int32)
    for edge in range(count):
        number = keys[edge] & np.uint64(0xFFFFFFFF)
        first[edge] = number >> shift
        second[edge] = first[edge] + steps[number & np.uint64(directions - 1)]
        bits[edge] = keys[edge] >> np.uint64(32)
    return first, second, bits.view(np.float32)


def _nearest(
    pixels: NDArray[np.float32], neighbours: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    from scipy.spatial import KDTree

    height, width, channels = pixels.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    points = np.concatenate([x.reshape(-1, 1), y.reshape(-1, 1), pixels.reshape(-1, channels)], axis=1)
    count = min(neighbours + 1, len(points))  # a pixel's nearest is itself
    _, found = KDTree(points, compact_nodes=False, balanced_tree=False).query(points, k=count)
    first = np.repeat(np.arange(len(points)), count)
    second = found.reshape(-1)
    # each pair once, whichever of both asked for it
    pairs = np.unique(np.minimum(first, second) * len(points) + np.maximum(first, second))
    first, second = pairs // len(points), pairs % len(points)
    first, second = first[first != second], second[first != second]
    weight = np.sqrt(np.square(points[first] - points[second]).sum(axis=1))
    return first.astype(np.int32), second.astype(np.int32), weight.astype(np.float32)


DEFAULT_NEIGHBOURS: Final = 10
"""Of Felzenszwalb and Huttenlocher 2004, section 6."""
