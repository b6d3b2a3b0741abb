"""MixUp: two images, one shining through the other."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from detzoo.data.loading.resize import resize
from detzoo.data.loading.transforms.box_filter import BoxFilter, areas_of
from detzoo.data.loading.transforms.box_rows import join_rows, keep_rows, placed, weight_of
from detzoo.data.loading.transforms.flips import Probability, flip
from detzoo.data.loading.transforms.letterbox import Side, canvas_size, fitted
from detzoo.data.loading.transforms.paste import Fill, filled, paste, random_corner
from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample

_Factor = Annotated[float, Field(gt=0, le=16)]


class MixUp(Transform):
    """The mean of the image and another one, with the boxes of both.

    The other image is fitted into the network input, at the top left of it, resized by a random factor, perhaps
    flipped, and cut at random to the size of the first, or filled up at the right and below. Nothing is mixed where
    either image shows no objects: YOLOX then samples until one does.

    Args:
        input_size: (height, width) px of the network input, or None where it follows the images.
        size: (height, width) px into which the other image is fitted; null is the network input.
        scale: range of the factor on the other image.
        flip: how often the other image is flipped.
        fill: RGB byte values around the other image, where it does not have the shape of ``size``.
        outside: RGB byte values beyond that, where it is smaller than the first (YOLOX, mmdetection: black).
        beta: the first image's share is sampled from Beta(beta, beta); Zhang et al. take 1.5. Null: always a half, as
            YOLOX and RTMDet.
        weighted: whether each box weighs the share of its image (Zhang et al., GluonCV), as ``Sample.weight``; else all
            weigh 1, as YOLOX and RTMDet.
        keep: which boxes of the other image stay.
        plain: whether the other image is taken as it lies in the dataset (YOLOX), or with the transforms before this
            one applied: another mosaic (RTMDet's cache).
        p: how often.

    Source: Zhang et al. 2019 (arXiv 1902.04103), section 3.1; Ge et al. 2021 (YOLOX, arXiv 2107.08430), section 2.1;
    Megvii-BaseDetection/YOLOX, mosaicdetection.py ``mixup``. Deliberate difference: the mean is rounded, not cut off.
    """

    name: ClassVar[str] = "mixup"
    draws: ClassVar[int] = 1

    def __init__(
        self,
        input_size: tuple[int, int] | None,
        /,
        *,
        size: tuple[Side, Side] | None = None,
        scale: tuple[_Factor, _Factor] = (0.5, 1.5),
        flip: Probability = 0.5,
        fill: Fill = (114.0, 114.0, 114.0),
        outside: Fill = (0.0, 0.0, 0.0),
        beta: Annotated[float, Field(gt=0)] | None = None,
        weighted: bool = False,
        keep: BoxFilter = BoxFilter(min_side=5.0),  # noqa: B008  # frozen
        plain: bool = True,
        p: Probability = 1.0,
    ) -> None:
        self.size = canvas_size(size, input_size)
        self.scale, self.flip, self.fill, self.outside = scale, flip, fill, outside
        self.beta, self.weighted, self.keep, self.plain, self.p = beta, weighted, keep, plain, p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the mean of two images, or the same sample."""
        if len(sample.boxes) == 0 or rng.random() >= self.p:
            return sample
        # before the other image's own numbers
        factor, mirrored = float(rng.uniform(*self.scale)), rng.random() < self.flip
        share = 0.5 if self.beta is None else float(rng.beta(self.beta, self.beta))
        other = self._resized(draw(plain=self.plain), factor)
        other = self._cut(flip(other) if mirrored else other, sample.image.shape[:2], rng)
        if len(other.boxes) == 0:  # half an empty image would only blur the first
            return sample
        mean = cv2.addWeighted(sample.image, share, other.image, 1 - share, 0)  # rounds and saturates
        first = sample
        if self.weighted:
            first, other = _weighted(sample, share), _weighted(other, 1 - share)
        return join_rows(np.asarray(mean, np.uint8), [first, other])

    def _resized(self, other: Sample, factor: float) -> Sample:
        """The other image at the top left of its canvas, times the factor."""
        piece = fitted(other, self.size)
        canvas = filled(self.size, self.fill)
        paste(canvas, piece.image, 0, 0)
        whole = dataclasses.replace(placed(piece, self.size, 0, 0), image=canvas)
        height, width = (max(1, int(side * factor)) for side in self.size)
        return resize(whole, (height, width), cv2.INTER_LINEAR)

    def _cut(self, other: Sample, size: tuple[int, ...], rng: np.random.Generator) -> Sample:
        """The part of the other image that falls onto the first one, which has a size of (height, width) px."""
        frame = (size[0], size[1])
        left, top = random_corner(other.image.shape[:2], frame, rng)
        canvas = filled(frame, self.outside)
        paste(canvas, other.image, left, top)
        moved = other.boxes + np.array([left, top] * 2, np.float32)
        clipped = np.clip(moved, 0, np.array([frame[1], frame[0]] * 2, np.float32))
        kept = keep_rows(other, self.keep.rows(other, areas_of(other.boxes), clipped))
        return dataclasses.replace(placed(kept, frame, left, top), image=canvas)


def _weighted(sample: Sample, share: float) -> Sample:
    return dataclasses.replace(sample, weight=weight_of(sample) * np.float32(share))
