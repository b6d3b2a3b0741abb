"""A sample at another size."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.types import Sample


def resize(sample: Sample, size: tuple[int, int], interpolation: int) -> Sample:
    """The sample at another size (height, width) px; masks by nearest neighbour.

    Boxes follow the rounded size, each side by its own ratio.

    Args:
        sample: is not changed.
        size: (height, width) px.
        interpolation: OpenCV's, of the image.
    """
    height, width = sample.image.shape[:2]
    if size == (height, width):
        return sample
    scale = np.array([size[1] / width, size[0] / height] * 2, np.float32)  # x, y, x, y: rounding makes them differ
    return dataclasses.replace(
        sample,
        # OpenCV: (w, h)
        image=cv2.resize(sample.image, size[::-1], interpolation=interpolation).astype(np.uint8, copy=False),
        boxes=sample.boxes * scale,
        masks=None if sample.masks is None else resize_masks(sample.masks, size),
        proposals=None if sample.proposals is None else sample.proposals * scale,
    )


def resize_masks(masks: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Masks uint8 [M,H,W] at another size (height, width), by nearest neighbour."""
    resized = [cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST) for mask in masks]
    return np.stack(resized).astype(np.uint8) if resized else np.zeros((0, *size), np.uint8)
