"""What selective search knows of regions: size, box, and normalised histograms of colour and texture.

H, W height and width of the image, C channels, N regions. Every pixel's bins are found once for a colour space; each
segmentation then only counts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, cast

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

COLOUR_BINS: Final = 25
TEXTURE_BINS: Final = 10
ORIENTATIONS: Final = 8
STRONGEST: Final = 255 / math.sqrt(2 * math.pi)
"""Derivative at a step from 0 to 255, smoothed with sigma 1."""
_SIGNED: Final = 2 * TEXTURE_BINS - 1  # a derivative and its opposite share a histogram until both are read off it


@dataclass(frozen=True)
class Regions:
    """Regions of one segmentation.

    Args:
        colour: float32 [N,25C], each row sums to 1.
        texture: float32 [N,80C] (channel, orientation, bin), each row sums to 1.
        size: int32 [N] px.
        boxes: int32 [N,4] xyxy px, right and bottom exclusive.
        neighbours: int64 [E,2]: pairs of regions that touch, the smaller number first, each once, in order.
    """

    colour: NDArray[np.float32]
    texture: NDArray[np.float32]
    size: NDArray[np.int32]
    boxes: NDArray[np.int32]
    neighbours: NDArray[np.int64]


def pixel_bins(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Histogram bins of every pixel.

    Args:
        pixels: uint8 [H,W,C].

    Returns:
        uint8 [H,W,5C]: C bins of colour, 0..24, even over 0..255; then for each channel the derivatives along 0, 45, 90
        and 135 degrees, 0..18: 9 is weak, 9+b and 9-b are bin b of that orientation and of the opposite one. Bins are
        even from 0 to what a step of 255 gives, so the same texture fills the same bins in every image.

    Source: Uijlings et al. 2013, section 3.2: 25 bins of colour; 8 orientations and 10 bins of texture, Gaussian
    derivatives of sigma 1. The range of the bins is not given there.
    """
    return _pixel_bins(pixels, oriented_derivatives(pixels), np.float32(TEXTURE_BINS / STRONGEST))


def oriented_derivatives(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gaussian derivatives, sigma 1, along 0, 45, 90 and 135 degrees: float32 [H,W,C,4].

    Along a diagonal it is the sum or difference of those along the axes, divided by the root of 2: the first derivative
    of a Gaussian is steerable.
    """
    offset = np.arange(-4, 5, dtype=np.float32)
    bell = np.exp(-np.square(offset) / 2)
    bell /= bell.sum()
    slope = offset * bell  # correlation with it is the derivative of the smoothed image
    shape = pixels.shape
    x = cast("NDArray[Any]", cv2.sepFilter2D(pixels, cv2.CV_32F, slope, bell)).reshape(shape)
    y = cast("NDArray[Any]", cv2.sepFilter2D(pixels, cv2.CV_32F, bell, slope)).reshape(shape)
    root = np.float32(np.sqrt(0.5))
    return np.stack([x, (x + y) * root, y, (y - x) * root], axis=-1)


def regions_of(labels: NDArray[np.int32], bins: NDArray[np.uint8]) -> Regions:
    """Statistics of the regions of a segmentation.

    Args:
        labels: int32 [H,W], every number 0..N-1 somewhere.
        bins: uint8 [H,W,5C], of ``pixel_bins``.
    """
    size, boxes = sizes_and_boxes(labels)
    colour, texture = _histograms(labels, bins, size)
    codes = np.unique(_touching(labels, len(size)))
    neighbours = np.stack([codes // len(size), codes % len(size)], axis=1)
    return Regions(colour, texture, size, boxes, neighbours)


def sizes_and_boxes(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Size int32 [N] px and boxes int32 [N,4] xyxy px, right and bottom exclusive, of segments int32 [H,W]."""
    height, width = labels.shape
    size, boxes = np.zeros(int(labels.max()) + 1, np.int32), np.zeros((int(labels.max()) + 1, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = width, height
    _measure(labels, size, boxes)
    return size, boxes


@njit(cache=True, nogil=True)
def _measure(labels: NDArray[np.int32], size: NDArray[np.int32], boxes: NDArray[np.int32]) -> None:
    """Count pixels, and widen boxes that are empty at first."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            region = labels[y, x]
            size[region] += 1
            boxes[region, 0], boxes[region, 1] = min(boxes[region, 0], x), min(boxes[region, 1], y)
            boxes[region, 2], boxes[region, 3] = max(boxes[region, 2], x + 1), max(boxes[region, 3], y + 1)


@njit(cache=True, nogil=True)
def _pixel_bins(pixels: NDArray[np.uint8], derivatives: NDArray[np.float32], scale: np.float32) -> NDArray[np.uint8]:
    height, width, channels = pixels.shape
    bins = np.empty((height, width, 5 * channels), np.uint8)
    weak = np.float32(TEXTURE_BINS - 1)
    for y in range(height):
        for x in range(width):
            for channel in range(channels):
                bins[y, x, channel] = np.int32(pixels[y, x, channel]) * COLOUR_BINS >> 8
                for direction in range(4):
                    level = derivatives[y, x, channel, direction] * scale
                    level = min(max(level, -weak), weak)
                    bins[y, x, channels + 4 * channel + direction] = np.int32(level) + TEXTURE_BINS - 1
    return bins


@njit(cache=True, nogil=True)
def _histograms(
    labels: NDArray[np.int32], bins: NDArray[np.uint8], size: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width, columns = bins.shape
    channels, count = columns // 5, len(size)
    counted = np.zeros((count, columns, COLOUR_BINS), np.int32)
    for y in range(height):
        for x in range(width):
            own = counted[labels[y, x]]
            for column in range(columns):
                own[column, bins[y, x, column]] += 1
    colour = np.empty((count, channels * COLOUR_BINS), np.float32)
    texture = np.empty((count, channels * ORIENTATIONS * TEXTURE_BINS), np.float32)
    for region in range(count):
        _read_colour(counted[region], size[region], colour[region])
        _read_texture(counted[region, channels:], size[region], texture[region])
    return colour, texture


@njit(cache=True, nogil=True)
def _read_colour(counted: NDArray[np.int32], size: int, row: NDArray[np.float32]) -> None:
    channels = len(row) // COLOUR_BINS
    share = np.float32(1) / np.float32(size * channels)
    for channel in range(channels):
        for level in range(COLOUR_BINS):
            row[channel * COLOUR_BINS + level] = counted[channel, level] * share


@njit(cache=True, nogil=True)
def _read_texture(counted: NDArray[np.int32], size: int, row: NDArray[np.float32]) -> None:
    """Split each histogram of signed derivatives into those of an orientation and of its opposite."""
    pairs = len(row) // (2 * TEXTURE_BINS)
    share = np.float32(1) / np.float32(size * 2 * pairs)
    weak = TEXTURE_BINS - 1
    for pair in range(pairs):
        channel, direction = pair // 4, pair % 4
        for half in range(2):
            start = (channel * ORIENTATIONS + direction + 4 * half) * TEXTURE_BINS
            rest = size
            for level in range(1, TEXTURE_BINS):
                found = counted[pair, weak + level if half == 0 else weak - level]
                row[start + level] = found * share
                rest -= found
            row[start] = rest * share


@njit(cache=True, nogil=True)
def _touching(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Codes first x count + second of pairs of regions that hold two of the 8-neighbours, many times each."""
    height, width = labels.shape
    codes = np.empty(4 * height * width, np.int64)
    found = 0
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            for direction in range(4):
                down, across = y + (direction > 0), x + 1
                if direction == 1:
                    across = x
                elif direction == 3:
                    across = x - 1
                if down == height or across == width or across < 0 or labels[down, across] == own:
                    continue
                other = labels[down, across]
                code = np.int64(min(own, other)) * count + max(own, other)
                if found == 0 or codes[found - 1] != code:
                    codes[found] = code
                    found += 1
    return codes[:found].copy()
