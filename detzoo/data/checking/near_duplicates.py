"""Images that show nearly the same: resized, recompressed or neighbouring in a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE: Final = 16
_FARTHEST: Final = 4.0
"""Grey levels of 256 by which two thumbnails may differ (root of the mean square)."""
_NOISE: Final = 0.5
_SHARE: Final = 0.15
"""Of an image with little contrast the difference must be smaller: noise, and a share of the contrast."""
_BLOCK: Final = 512


@dataclass(frozen=True)
class ImagePrint:
    """What images are compared by: a digest of the file's bytes, and a thumbnail (``thumbnail``)."""

    digest: str
    small: NDArray[np.uint8]


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [16,16,3]: the means of an image [H,W,3] over a grid."""
    small: NDArray[Any] = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return small.astype(np.uint8)


def near_pairs(thumbnails: Sequence[NDArray[np.uint8]]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of thumbnails that show nearly the same.

    All pairs are compared whose mean grey is near enough: the difference of the means is never larger than the
    difference of the images.
    """
    if len(thumbnails) < 2:
        return []
    flat = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float32)
    means = flat.mean(axis=1)
    order = np.argsort(means, kind="stable")
    flat, means = flat[order], means[order]
    limits = np.minimum(_FARTHEST, _NOISE + _SHARE * flat.std(axis=1))
    squares = np.square(flat).mean(axis=1)
    pairs = []
    for start in range(0, len(flat), _BLOCK):
        stop = min(start + _BLOCK, len(flat))
        end = int(np.searchsorted(means, means[stop - 1] + _FARTHEST, side="right"))
        products = flat[start:stop] @ flat[start:end].T / flat.shape[1]
        distance = np.sqrt(np.maximum(squares[start:stop, None] + squares[None, start:end] - 2 * products, 0))
        near = distance <= np.minimum(limits[start:stop, None], limits[None, start:end])
        for row, column in zip(*np.nonzero(np.triu(near, 1)), strict=True):
            one, other = int(order[start + row]), int(order[start + column])
            pairs.append((min(one, other), max(one, other)))
    return sorted(pairs)


def groups_of(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Number of the group of each of ``count`` items, where pairs are joined; groups are numbered as they appear."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(item), len(numbers)) for item in range(count)]
