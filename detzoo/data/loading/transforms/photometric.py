"""Colour changes: boxes, masks and proposals stay."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from detzoo.data.loading.transforms.flips import Probability
from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample

Range = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]


class PhotometricDistort(Transform):
    """SSD's colour distortion: brightness, then contrast before or after saturation and hue, evenly.

    Each of the four happens with probability ``p``, on bytes that saturate, as in the reference.

    Args:
        brightness: largest shift, in byte values.
        contrast: range of the factor.
        saturation: range of the factor.
        hue: largest shift, in OpenCV's half degrees.
        p: of each of the four.

    Source: SSD, section 2.2; caffe ssd branch, im_transforms.cpp ``ApplyDistort`` with ssd_pascal.py's values.
    Deliberate difference: hue wraps around at 180 instead of sticking at the end of the byte.
    """

    def __init__(
        self,
        *,
        brightness: Annotated[float, Field(ge=0, le=255)] = 32.0,
        contrast: Range = (0.5, 1.5),
        saturation: Range = (0.5, 1.5),
        hue: Annotated[float, Field(ge=0, le=90)] = 18.0,
        p: Probability = 0.5,
    ) -> None:
        self.brightness, self.contrast, self.saturation, self.hue, self.p = brightness, contrast, saturation, hue, p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample with other colours."""
        contrast_first = rng.random() > 0.5  # ApplyDistort: one of two orders
        shift = rng.uniform(-self.brightness, self.brightness) if rng.random() < self.p else 0.0
        contrast = rng.uniform(*self.contrast) if rng.random() < self.p else 1.0
        saturation = rng.uniform(*self.saturation) if rng.random() < self.p else 1.0
        hue = rng.uniform(-self.hue, self.hue) if rng.random() < self.p else 0.0
        image = linear(sample.image, 1.0, shift)
        if contrast_first:
            image = linear(image, contrast, 0.0)
        image = saturation_and_hue(image, saturation, hue)
        if not contrast_first:
            image = linear(image, contrast, 0.0)
        return dataclasses.replace(sample, image=image)


class ColourJitter(Transform):
    """Brightness, contrast about the mean, saturation and hue, as torchvision's ColorJitter in a fixed order.

    Args:
        brightness: the factor is sampled from 1 - brightness to 1 + brightness.
        contrast: the same.
        saturation: the same.
        hue: largest shift, as a fraction of the circle.
        p: how often anything happens.
    """

    def __init__(
        self,
        *,
        brightness: Annotated[float, Field(ge=0, le=1)] = 0.2,
        contrast: Annotated[float, Field(ge=0, le=1)] = 0.2,
        saturation: Annotated[float, Field(ge=0, le=1)] = 0.2,
        hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02,
        p: Probability = 0.8,
    ) -> None:
        self.brightness, self.contrast, self.saturation, self.hue, self.p = brightness, contrast, saturation, hue, p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample with other colours, or the same one."""
        if rng.random() >= self.p:
            return sample
        bright, contrast, saturation = (
            float(rng.uniform(1 - reach, 1 + reach)) for reach in (self.brightness, self.contrast, self.saturation)
        )
        hue = float(rng.uniform(-self.hue, self.hue)) * 180  # OpenCV's circle has 180 steps
        mean = float(sample.image.mean()) * bright  # of the brightened image, about which contrast turns
        image = linear(sample.image, bright * contrast, mean * (1 - contrast))
        return dataclasses.replace(sample, image=saturation_and_hue(image, saturation, hue))


class HsvShift(Transform):
    """Hue, saturation and value shifted, each by an amount of its own, or with a chance of one half not at all.

    Args:
        hue: largest shift, in OpenCV's half degrees; it wraps around.
        saturation: largest shift, in byte values; it saturates.
        value: the same.
        p: how often anything happens.

    Source: Ge et al. 2021 (YOLOX, arXiv:2107.08430); Megvii-BaseDetection/YOLOX, ``augment_hsv``, whose shifts are cut
    to whole numbers as these are.
    """

    def __init__(
        self,
        *,
        hue: Annotated[float, Field(ge=0, le=90)] = 5.0,
        saturation: Annotated[float, Field(ge=0, le=255)] = 30.0,
        value: Annotated[float, Field(ge=0, le=255)] = 30.0,
        p: Probability = 1.0,
    ) -> None:
        self.reach, self.p = np.array([hue, saturation, value]), p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the sample with other colours, or the same one."""
        if rng.random() >= self.p:
            return sample
        shifts = np.trunc(rng.uniform(-1, 1, 3) * self.reach * rng.integers(0, 2, 3))
        values = np.arange(256)
        table = np.stack(
            [(values + shifts[0]) % 180, np.clip(values + shifts[1], 0, 255), np.clip(values + shifts[2], 0, 255)],
            axis=1,
        ).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV), table.reshape(256, 1, 3))
        return dataclasses.replace(sample, image=np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8))


def linear(image: NDArray[np.uint8], factor: float, shift: float) -> NDArray[np.uint8]:
    """image * factor + shift, rounded and saturated, through a table of 256 bytes."""
    if factor == 1.0 and shift == 0.0:
        return image
    table = np.clip(np.rint(np.arange(256) * factor + shift), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def saturation_and_hue(image: NDArray[np.uint8], factor: float, shift: float) -> NDArray[np.uint8]:
    """Saturation times ``factor``, hue plus ``shift`` half degrees, in 8-bit HSV."""
    if factor == 1.0 and shift == 0.0:
        return image
    values = np.arange(256)
    table = np.stack(
        [
            np.rint(values + shift) % 180,  # hue wraps; a byte would saturate
            np.clip(np.rint(values * factor), 0, 255),
            values,
        ],
        axis=1,
    ).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table.reshape(256, 1, 3))
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
