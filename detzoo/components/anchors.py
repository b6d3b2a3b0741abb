"""Anchors of the FPN family: sizes and ratios repeated over each map's grid."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors
from detzoo.ops.anchors import cell_anchors, shift_over_grid
from detzoo.types import FeatureMaps, Level

Positive = Annotated[float, Field(gt=0)]


class Grid(Anchors):
    """Anchors of fixed sizes and ratios on every cell of every map.

    Args:
        sizes: for each level, the sides (px) of squares of the anchors' areas.
        ratios: height / width, for every level.
        octave: every size s brings s * 2^(i / octave) for i below ``octave``: RetinaNet's three scales are 3. Not to
            be confused with levels, which are an octave apart themselves.
        octave_rounding: ``none`` (detectron2, mmdet), or ``down``: these sizes are cut to whole px, so that 32 brings
            40 and 50 (torchvision).
        offset: centre within the cell, in cells: 0 is the corner (torchvision, detectron2, mmdet), 0.5 the
            middle (fizyr).
        rounding: ``none``, or ``int``: the anchors of a cell are rounded to whole px (torchvision).
        stride: px per cell: ``exact`` (network side / map side) or ``floor``: divided without remainder (torchvision).
        steps: px per cell of each level, whatever the sizes of map and image are: the nominal strides of detectron2,
            mmdet and fizyr, as [8, 16, 32, 64, 128]; null: as ``stride`` says.

    Source: torchvision ``AnchorGenerator`` (offset 0, rounding int, stride floor); detectron2 (offset 0, no rounding).
    RetinaNet, section 4 (three scales in an octave). Order within a cell: ratio, then size.
    """

    def __init__(
        self,
        *,
        sizes: list[list[Positive]],
        ratios: list[Positive] | None = None,
        octave: Annotated[int, Field(ge=1, le=16)] = 1,
        octave_rounding: Literal["none", "down"] = "none",
        offset: Annotated[float, Field(ge=0, le=1)] = 0.0,
        rounding: Literal["none", "int"] = "none",
        stride: Literal["exact", "floor"] = "exact",
        steps: list[Positive] | None = None,
    ) -> None:
        super().__init__()
        self.sizes = [_with_octave(level, octave, whole=octave_rounding == "down") for level in sizes]
        self.ratios = [0.5, 1.0, 2.0] if ratios is None else ratios
        self.offset = offset
        self.rounding = rounding
        self.stride = stride
        if steps is not None and len(steps) != len(sizes):
            raise RecipeError(
                f"anchors grid: sizes are given for {len(sizes)} levels and steps for {len(steps)}; write one step for "
                "each level, or null"
            )
        self.steps = steps

    def per_cell(self) -> tuple[int, ...]:
        """Anchors per cell of each level."""
        return tuple(len(sizes) * len(self.ratios) for sizes in self.sizes)

    def forward(self, features: FeatureMaps, size: tuple[int, int]) -> tuple[Tensor, tuple[Level, ...]]:
        """Anchors float32 [N,4] xyxy px, and their levels."""
        if len(features) != len(self.sizes):
            raise RecipeError(
                f"anchors grid: sizes are given for {len(self.sizes)} levels, but there are {len(features)} feature "
                f"maps ({', '.join(features)}); write one list of sizes for each map"
            )
        boxes, levels = [], []
        for row, ((name, feature), sizes) in enumerate(zip(features.items(), self.sizes, strict=True)):
            height, width = feature.shape[-2:]
            step = None if self.steps is None else float(self.steps[row])
            stride = self.strides(size, (height, width)) if step is None else (step, step)
            cell = cell_anchors(sizes, self.ratios, rounded=self.rounding == "int").to(feature.device)
            boxes.append(shift_over_grid(cell, height, width, stride, offset=self.offset))
            levels.append(Level(name, height, width, cell.shape[0], stride[0]))
        return torch.cat(boxes), tuple(levels)

    def strides(self, size: tuple[int, int], cells: tuple[int, int]) -> tuple[float, float]:
        """(vertical, horizontal) network px per cell."""
        if self.stride == "floor":
            # torchvision: 800 px, 13 cells: 61
            return float(size[0] // max(1, cells[0])), float(size[1] // max(1, cells[1]))
        return size[0] / max(1, cells[0]), size[1] / max(1, cells[1])  # two numbers: rounded maps have two strides


def _with_octave(sizes: list[float], octave: int, *, whole: bool) -> list[float]:
    """Each size and those that share its octave, in ascending steps of 2^(1 / octave)."""
    if octave == 1:
        return sizes
    scaled = [size * 2 ** (step / octave) for size in sizes for step in range(octave)]
    return [float(int(size)) for size in scaled] if whole else scaled  # torchvision's RetinaNet: int(x * 2 ** (1 / 3))
