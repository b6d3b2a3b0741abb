"""Colour spaces of an image, each channel 0 to 255, so that one k and one set of histogram bins serve all."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

ColourSpace: TypeAlias = Literal["rgb", "hsv", "lab", "rgi", "hue", "intensity"]

_CONVERSIONS: Final[dict[ColourSpace, int]] = {
    "hsv": cv2.COLOR_RGB2HSV_FULL,
    "lab": cv2.COLOR_RGB2LAB,
    "intensity": cv2.COLOR_RGB2GRAY,
}


def in_colour_space(image: NDArray[np.uint8], space: ColourSpace) -> NDArray[np.uint8]:
    """An image in another colour space.

    - ``rgb``: as it is;
    - ``hsv``: hue stretched to 0..255, so that it fills as many bins as the other channels;
    - ``lab``: CIE L*a*b*, L* stretched to 0..255, 128 added to a* and b*;
    - ``rgi``: R / (R+G+B) and G / (R+G+B), stretched to 0..255, and intensity; black has no colour: thirds;
    - ``hue``: the hue of ``hsv`` alone;
    - ``intensity``: the luma of Rec. 601.

    Args:
        image: uint8 [H,W,3] RGB.
        space: which.

    Returns:
        uint8 [H,W,C], C 3 or 1, contiguous.

    Source: Uijlings et al. 2013, section 3.2. Difference: hue is an angle, and is taken for a number as everywhere.
    """
    if space == "rgb":
        return np.ascontiguousarray(image)
    if space == "hue":
        return np.ascontiguousarray(in_colour_space(image, "hsv")[..., :1])
    if space == "rgi":
        total = image.sum(axis=2, dtype=np.float32)
        chroma = (image[..., :2] + (total == 0)[..., None]) * (255 / np.where(total == 0, 3, total))[..., None]
        grey = in_colour_space(image, "intensity")
        return np.concatenate([np.rint(chroma).astype(np.uint8), grey], axis=2)
    converted = cast("NDArray[Any]", cv2.cvtColor(image, _CONVERSIONS[space]))
    return converted.reshape(*image.shape[:2], -1).astype(np.uint8, copy=False)
