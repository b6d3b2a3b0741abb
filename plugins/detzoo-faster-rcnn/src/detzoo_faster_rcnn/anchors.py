"""The anchors of py-faster-rcnn, number by number."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors
from detzoo.ops.anchors import shift_over_grid
from detzoo.types import FeatureMaps, Level

Positive = Annotated[float, Field(gt=0)]


class CaffeGrid(Anchors):
    """Sizes and ratios on every cell of one map, rounded as the release rounds them.

    A square of ``base`` px gets the ratios first, its sides rounded to whole px (16x16 becomes 23x12, 16x16 and 11x22),
    and is scaled to the sizes afterwards. All are centred on the middle of the base box, pixel 7.5 of 0..15, and
    repeated every ``stride`` px, whatever the sizes of map and image are. Order within a cell: ratio, then size.

    Args:
        sizes: px; the side of the square of each scale (scales 8, 16 and 32 of base 16).
        ratios: height / width.
        base: px; the side of the square at which sides are rounded.
        stride: px per cell.
        edges: ``exclusive``: the right and bottom edge of the last pixel, as every box in detzoo: the release's
            arithmetic with x2 - x1 + 1 becomes plain x2 - x1. ``inclusive``: the last pixel itself, the numbers as
            they are printed ([-84, -40, 99, 55] first).

    Source: py-faster-rcnn, lib/rpn/generate_anchors.py; the MATLAB release counts from 1 ([-83, -39, 100, 56]).
    """

    def __init__(
        self,
        *,
        sizes: tuple[Positive, ...] = (128, 256, 512),
        ratios: tuple[Positive, ...] = (0.5, 1.0, 2.0),
        base: Annotated[int, Field(gt=0)] = 16,
        stride: Annotated[int, Field(gt=0)] = 16,
        edges: Literal["exclusive", "inclusive"] = "exclusive",
    ) -> None:
        super().__init__()
        self.sizes, self.ratios, self.base, self.stride, self.edges = sizes, ratios, base, stride, edges

    def per_cell(self) -> tuple[int, ...]:
        """Anchors per cell of the one level."""
        return (len(self.sizes) * len(self.ratios),)

    def forward(self, features: FeatureMaps, size: tuple[int, int]) -> tuple[Tensor, tuple[Level, ...]]:
        """Anchors float32 [N,4] xyxy px, and their level; ``size`` plays no part."""
        if len(features) != 1:
            raise RecipeError(
                f"anchors caffe_grid: it stands on one map, but there are {len(features)} ({', '.join(features)}); "
                "name one level, or use anchors: {type: grid}"
            )
        ((name, feature),) = features.items()
        height, width = feature.shape[-2:]
        cell = self.cell().to(feature.device)
        boxes = shift_over_grid(cell, height, width, (float(self.stride), float(self.stride)))
        return boxes, (Level(name, height, width, cell.shape[0], float(self.stride)),)

    def cell(self) -> Tensor:
        """float32 [ratios * sizes,4] xyxy px: the anchors of the first cell."""
        ratios = np.asarray(self.ratios, dtype=np.float64)
        wide = np.round(np.sqrt(self.base**2 / ratios))  # NumPy rounds halves to even, and so does the release
        tall = np.round(wide * ratios)
        scales = np.asarray(self.sizes, dtype=np.float64) / self.base
        sides = np.stack([np.outer(wide, scales).ravel(), np.outer(tall, scales).ravel()], axis=1)
        middle = (self.base - 1) / 2  # 7.5
        boxes = np.concatenate([middle - (sides - 1) / 2, middle + (sides - 1) / 2], axis=1)
        if self.edges == "exclusive":
            boxes[:, 2:] += 1  # inclusive pixels to edges
        return torch.from_numpy(boxes).float()
