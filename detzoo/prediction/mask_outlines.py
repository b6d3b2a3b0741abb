"""Outlines of masks, for tools that take polygons."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np

from detzoo.ops.mask_encoding import decode_counts

_FINER: Final = 4
"""Subpixels per pixel: an outline runs through their centres, 1/8 px inside of the mask's edge."""


def largest_outline(segmentation: dict[str, Any]) -> tuple[list[tuple[float, float]], int]:
    """The outline of a mask's largest part, and how many parts there are; holes are filled.

    Args:
        segmentation: COCO's compressed run lengths.

    Returns:
        x and y px of each corner, and the number of parts; no corners for an empty mask.
    """
    height, width = segmentation["size"]
    mask = decode_counts(segmentation["counts"].encode(), (height, width))
    left, top, wide, high = cv2.boundingRect(mask)
    if not wide or not high:
        return [], 0
    part = np.kron(mask[top : top + high, left : left + wide], np.ones((_FINER, _FINER), np.uint8))
    found, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(found, key=cv2.contourArea).reshape(-1, 2)
    corners = (largest + 0.5) / _FINER + (left, top)
    return [(float(x), float(y)) for x, y in corners.round(2)], len(found)
