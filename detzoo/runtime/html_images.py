"""Images inside an HTML page, so that it is one file that requests nothing."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detzoo.runtime.drawing import encode_image

if TYPE_CHECKING:
    from detzoo.runtime.drawing import ImageArray


def data_url(image: ImageArray, *, widest: int) -> str:
    """A JPEG inside a URL.

    Args:
        image: uint8 [H,W,3] RGB.
        widest: px; a wider image is made smaller, to keep the page small enough to be mailed.
    """
    height, width = image.shape[:2]
    if width > widest:
        size = (widest, max(1, round(height * widest / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return "data:image/jpeg;base64," + base64.b64encode(encode_image(image, ".jpg", quality=80)).decode("ascii")
