"""Mosaic: four images around a point."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from detzoo.data.loading.transforms.affine import Affine, random_affine
from detzoo.data.loading.transforms.box_rows import join_rows, placed
from detzoo.data.loading.transforms.flips import Probability
from detzoo.data.loading.transforms.letterbox import Side, canvas_size, fitted
from detzoo.data.loading.transforms.paste import Fill, filled, paste
from detzoo.interfaces import Draw, Transform
from detzoo.types import Sample

_Part = Annotated[float, Field(ge=0, le=2)]


class Mosaic(Transform):
    """Four images meet at a random point of a canvas of twice the network input; then the canvas is warped.

    The image itself lies at the top left of the point, three others at the top right, bottom left and bottom right,
    each as large as fits into the network input, and cut at the border of the canvas. Close it for the last part of
    training with ``active: [0.0, 0.9]``: YOLOX does so for the last 15 of 300 epochs.

    Args:
        input_size: (height, width) px of the network input, or None where it follows the images.
        size: (height, width) px of half the canvas, and of the image in the end; null is the network input.
        centre: range of the meeting point, as a part of ``size``.
        fill: RGB byte values where there is no image.
        affine: the warp from the canvas to ``size``; null leaves the canvas as it is, of twice the size. RTMDet does
            that, and lets a jitter of scale with a crop follow: ``large_scale_jitter``.
        plain: whether the other images are taken as they lie in the dataset (YOLOX), or with the transforms before this
            one applied (RTMDet's cache).
        p: how often; else the image stays as it is.

    Source: Bochkovskiy et al. 2020 (YOLOv4, arXiv 2004.10934), section 3.3; Ge et al. 2021 (YOLOX, arXiv 2107.08430),
    section 2.1; Megvii-BaseDetection/YOLOX, mosaicdetection.py. Deliberate difference: boxes follow the rounded size of
    each image, where YOLOX multiplies them by the ratio before rounding.
    """

    draws: ClassVar[int] = 3

    def __init__(
        self,
        input_size: tuple[int, int] | None,
        /,
        *,
        size: tuple[Side, Side] | None = None,
        centre: tuple[_Part, _Part] = (0.5, 1.5),
        fill: Fill = (114.0, 114.0, 114.0),
        affine: Affine | None = Affine(),  # noqa: B008  # frozen
        plain: bool = False,
        p: Probability = 1.0,
    ) -> None:
        self.size = canvas_size(size, input_size)
        self.centre, self.fill, self.affine, self.plain, self.p = centre, fill, affine, plain, p

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """Return the warped canvas, or the same sample."""
        if rng.random() >= self.p:
            return sample
        y, x = (int(side * rng.uniform(*self.centre)) for side in self.size)  # px on the canvas of twice the size
        images = [sample, *(draw(plain=self.plain) for _ in range(self.draws))]
        canvas = self._canvas([fitted(image, self.size) for image in images], x, y)
        return canvas if self.affine is None else random_affine(canvas, self.size, self.affine, self.fill, rng)

    def _canvas(self, images: list[Sample], x: int, y: int) -> Sample:
        """The images around (x, y): top left, top right, bottom left, bottom right."""
        size = (2 * self.size[0], 2 * self.size[1])
        canvas, pieces = filled(size, self.fill), []
        for row, piece in enumerate(images):
            height, width = piece.image.shape[:2]
            left, top = x - width if row % 2 == 0 else x, y - height if row < 2 else y
            paste(canvas, piece.image, left, top)
            pieces.append(placed(piece, size, left, top))
        return join_rows(canvas, pieces)  # the first is the image itself: its id and path stay
