"""What mosaic and MixUp do to each image first: it is shrunk or grown to fit the network input."""

from __future__ import annotations

from typing import Annotated

import cv2
from pydantic import Field

from detzoo.data.loading.resize import resize
from detzoo.errors import RecipeError
from detzoo.types import Sample

Side = Annotated[int, Field(ge=1, le=16384)]


def canvas_size(size: tuple[int, int] | None, input_size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) px that a transform works in: its own, else the detector's input.

    Raises:
        RecipeError: neither is known.
    """
    found = size or input_size
    if found is None:
        raise RecipeError("size: give (height, width) px, as [640, 640]: this recipe's input has no fixed size")
    return found


def fitted(sample: Sample, size: tuple[int, int], scale: float = 1.0) -> Sample:
    """The sample as large as fits into (height, width) px, times ``scale``; bilinear, as YOLOX's cv2.resize."""
    height, width = sample.image.shape[:2]
    ratio = min(size[0] / height, size[1] / width) * scale
    return resize(sample, (max(1, int(height * ratio)), max(1, int(width * ratio))), cv2.INTER_LINEAR)
