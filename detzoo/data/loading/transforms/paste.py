"""An array laid onto a canvas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Fill = tuple[float, float, float]
"""RGB byte values."""


def paste(canvas: NDArray[np.uint8], piece: NDArray[np.uint8], left: int, top: int) -> None:
    """Write ``piece`` [h,w,...] into ``canvas`` [H,W,...], its corner at (left, top) px; what is outside is lost."""
    height, width = canvas.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + piece.shape[1], width), min(top + piece.shape[0], height)
    if x1 < x2 and y1 < y2:
        canvas[y1:y2, x1:x2] = piece[y1 - top : y2 - top, x1 - left : x2 - left]


def random_corner(size: tuple[int, ...], frame: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    """(left, top) px, 0 or less: where an image lies whose random part of the size of ``frame`` is looked at.

    Args:
        size: (height, width) px of the image; where it is smaller than the frame, it lies at 0.
        frame: (height, width) px.
        rng: chooses both evenly.
    """
    top, left = (-int(rng.integers(0, max(0, own - side) + 1)) for own, side in zip(size, frame, strict=True))
    return left, top


def filled(size: tuple[int, int], fill: Fill) -> NDArray[np.uint8]:
    """uint8 [H,W,3] of one colour."""
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = np.rint(np.array(fill)).astype(np.uint8)  # means are fractions: 123.675
    return canvas


def paste_masks(masks: NDArray[np.uint8], size: tuple[int, int], left: int, top: int) -> NDArray[np.uint8]:
    """Masks uint8 [M,h,w] on empty canvases: [M,H,W]."""
    canvas = np.zeros((*size, len(masks)), np.uint8)
    paste(canvas, masks.transpose(1, 2, 0), left, top)  # masks as channels: one copy for all
    return np.ascontiguousarray(canvas.transpose(2, 0, 1))
