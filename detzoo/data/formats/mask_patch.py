"""Masks that an annotation file holds as a small PNG, and objects that are drawn in several parts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detzoo.data.formats.values import shown
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import (
    NO_MASK,
    decode_mask,
    decode_polygons,
    encode_polygons,
    encode_rle,
    is_polygons,
    run_lengths,
)
from detzoo.runtime.images import raw_values

Box: TypeAlias = tuple[float, float, float, float]
_ROUNDED: Final = 1.0
"""Px by which a PNG may be larger or smaller than its rectangle: tools round corners."""


def placed_mask(value: Any, corners: Sequence[float], size: tuple[int, int]) -> tuple[Box, bytes]:
    """Box around a mask, and the mask, encoded for the index.

    Args:
        value: a PNG as base64 text, 0 where the object is not.
        corners: x1 y1 x2 y2 px of its first and its last pixel in the image.
        size: (height, width) px of the image, around which the mask is clipped.

    Raises:
        DataError: it is no PNG, does not fit its corners, or has no pixel within the image.
    """
    patch = _decoded(value)
    left, top = round(corners[0]), round(corners[1])
    rows, columns = patch.shape
    wanted = (corners[3] - corners[1] + 1, corners[2] - corners[0] + 1)
    if abs(rows - wanted[0]) > _ROUNDED or abs(columns - wanted[1]) > _ROUNDED:
        raise DataError(f"the mask is {columns} x {rows} px, its points make {wanted[1]:g} x {wanted[0]:g} px")
    whole = np.zeros(size, np.uint8)
    low, high = max(top, 0), max(left, 0)
    inside = patch[low - top : max(size[0] - top, 0), high - left : max(size[1] - left, 0)]
    whole[low : low + inside.shape[0], high : high + inside.shape[1]] = inside
    return _encoded(whole)


def joined(parts: Sequence[tuple[Box, bytes]], size: tuple[int, int]) -> tuple[Box, bytes]:
    """One object of several parts: the box around all, and the mask of all.

    Args:
        parts: box and encoded mask of each.
        size: (height, width) px of the image.
    """
    boxes = np.array([box for box, _ in parts])
    (x1, y1), (x2, y2) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    if all(is_polygons(mask) for _, mask in parts):
        return (x1, y1, x2, y2), encode_polygons([line for _, mask in parts for line in decode_polygons(mask)])
    whole = np.zeros(size, np.uint8)
    for _, mask in parts:
        whole |= decode_mask(mask, size)
    return (x1, y1, x2, y2), _encoded(whole)[1] if whole.any() else NO_MASK


def _decoded(value: Any) -> NDArray[np.uint8]:
    if not isinstance(value, str) or not value:
        raise DataError(f"the mask must be a PNG as base64 text, not {shown(value, 40)}")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"the mask is no base64 text: {shown(value, 40)}") from None
    values = raw_values(data, "the mask")
    if values.ndim != 2:
        raise DataError("the mask is an image of several channels; one is needed")
    return np.asarray(values != 0, np.uint8)


def _encoded(whole: NDArray[np.uint8]) -> tuple[Box, bytes]:
    """Raises DataError where the mask is empty."""
    ys, xs = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not len(ys):
        raise DataError("the mask has no pixel within the image")
    box = (float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1))
    return box, encode_rle(run_lengths(whole[None])[0]["counts"], whole.shape)
