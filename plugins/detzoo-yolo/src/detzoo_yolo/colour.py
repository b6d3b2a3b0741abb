"""Darknet's colour augmentation."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample

Factor = Annotated[float, Field(ge=1, le=4)]


class DarknetColour(Transform):
    """Hue shifted, saturation and exposure multiplied, in HSV.

    Args:
        hue: largest shift, as a part of the circle; 0.1 in v2 and v3.
        saturation: largest factor; sampled uniformly from 1 to it, and inverted half of the time.
        exposure: the same, of the value.

    Source: Redmon et al. 2016, section 2.2 (factors up to 1.5); darknet, image.c ``random_distort_image``. Deliberate
    difference: 8-bit HSV.
    """

    def __init__(
        self,
        *,
        hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1,
        saturation: Factor = 1.5,
        exposure: Factor = 1.5,
    ) -> None:
        self.hue, self.saturation, self.exposure = hue, saturation, exposure

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample with other colours."""
        shift = rng.uniform(-self.hue, self.hue) * 180  # OpenCV's circle has 180 steps
        saturation, exposure = _factor(self.saturation, rng), _factor(self.exposure, rng)
        values = np.arange(256)
        table = np.stack(
            [
                np.rint(values + shift) % 180,
                np.clip(np.rint(values * saturation), 0, 255),
                np.clip(np.rint(values * exposure), 0, 255),
            ],
            axis=1,
        ).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV), table.reshape(256, 1, 3))
        return dataclasses.replace(sample, image=np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8))


def _factor(largest: float, rng: np.random.Generator) -> float:
    factor = float(rng.uniform(1, largest))
    return factor if rng.random() < 0.5 else 1 / factor  # image.c rand_scale
