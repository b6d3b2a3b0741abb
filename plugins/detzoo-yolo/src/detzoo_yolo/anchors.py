"""YOLO's anchors: sides found by clustering, the same in every cell of a map."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors
from detzoo.ops.anchors import shift_over_grid
from detzoo.types import FeatureMaps, Level

Px = Annotated[float, Field(gt=0, le=100_000)]


class YoloAnchors(Anchors):
    """Boxes of given sides in the middle of every cell.

    Args:
        sizes: for each map, finest first, the anchors as (height, width) in network px. Darknet's cfg files write width
            before height, YOLOv2's in cells of 32 px. ``detzoo data anchors DATA --size HxW`` finds them for
            a dataset.

    Source: YOLO9000, section 2, "Dimension Clusters"; YOLOv3, section 2.3.
    """

    whole_cells = True  # a cell is a square

    def __init__(self, *, sizes: list[list[tuple[Px, Px]]]) -> None:
        super().__init__()
        if not all(sizes):
            raise RecipeError("sizes: every map needs an anchor at least, as [[[30, 20], [60, 90]]]")
        self.sizes = [[(float(height), float(width)) for height, width in level] for level in sizes]

    def per_cell(self) -> tuple[int, ...]:
        """Anchors per cell of each level."""
        return tuple(len(level) for level in self.sizes)

    def forward(self, features: FeatureMaps, size: tuple[int, int]) -> tuple[Tensor, tuple[Level, ...]]:
        """Anchors float32 [N,4] xyxy px, and their levels."""
        if len(features) != len(self.sizes):
            raise RecipeError(
                f"anchors yolo_anchors: sizes are given for {len(self.sizes)} levels, but there are {len(features)} "
                f"feature maps ({', '.join(features)}); write one list of sizes for each map"
            )
        boxes, levels = [], []
        for (name, feature), sides in zip(features.items(), self.sizes, strict=True):
            height, width = feature.shape[-2:]
            stride = size[0] / height, size[1] / width
            if stride[0] != stride[1]:
                raise RecipeError(
                    f"an input of {size[0]}x{size[1]} px (height x width) makes cells of {stride[0]:g}x{stride[1]:g} "
                    f"px on {name}; YOLO's cells are square: choose multiples of the coarsest stride, as 32"
                )
            reach = torch.tensor(sides, dtype=torch.float32, device=feature.device).flip(1) / 2  # width before height
            boxes.append(shift_over_grid(torch.cat([-reach, reach], 1), height, width, stride, offset=0.5))  # mid-cell
            levels.append(Level(name, height, width, len(sides), stride[0]))
        return torch.cat(boxes), tuple(levels)
