"""Large images are looked at smaller: segments of a 20-megapixel photograph are no better, only slower."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def shrunk(image: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    """An image uint8 [H,W,3] whose longer side is at most ``max_side`` px, by area averaging; else as it is."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    ratio = max_side / max(height, width)
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def mapped_back(boxes: NDArray[np.int32], seen: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Boxes [P,4] xyxy px of the image that was looked at, in px of the image itself."""
    return np.asarray(boxes * np.tile(np.array(image.shape[1::-1]) / seen.shape[1::-1], 2))


def as_large_as(image: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Segments of a shrunk image, int32 [H,W] of the size of the image itself."""
    if labels.shape == image.shape[:2]:
        return labels
    return np.asarray(cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.int32)
