"""Spatial pyramid pooling of windows of a feature map (SPP-net)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision import ops

from detzoo.components.roi_pools import PlainPool
from detzoo.ops.roi_pool import pool_on_levels, to_regions
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs

Bins = Annotated[int, Field(ge=1)]


class SpatialPyramid(PlainPool):
    """Each window of the map as grids of maxima, coarse and fine ones together.

    A window holds the cells whose centres lie strictly inside the region: left and top ``floor(x / S) + 1``, right and
    bottom ``ceil(x / S) - 1``; the cell nearest to its middle where there is none. Bin i of n of a window of w cells
    reaches from ``floor(i w / n)`` to ``ceil((i + 1) w / n)``. With several maps (``image_pyramid``) a region is pooled
    from the one on which its area is nearest to ``cells`` squared.

    Args:
        features: the backbone's maps.
        bins: grids, each of n x n: 6, 3, 2, 1 give 50 bins.
        levels: the maps to pool from, finest first; null for all.
        cells: side in cells of a region that fits best; 14 are 224 px of stride 16.
        offset: px added to every corner before it is mapped: 0 where cell (0, 0) is centred on pixel 0, that is where
            every layer pads by half its kernel. With padding elsewhere set it to the difference.
        end_offset: px added to right and bottom corners instead; null: the same as ``offset``. The release maps them
            unlike left and top: its ``offset0`` and ``offset`` of stride S are -offset0 + offset - S / 2 here, and
            -offset0 - offset + S / 2.

    Source: He et al. 2014 (arXiv:1406.4729), sections 3.1, 4.1 and appendix A.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        bins: tuple[Bins, ...] = (6, 3, 2, 1),
        levels: tuple[str, ...] | None = None,
        cells: Annotated[float, Field(gt=0)] = 14.0,
        offset: float = 0.0,
        end_offset: float | None = None,
    ) -> None:
        count = sum(n * n for n in bins)
        super().__init__(features, output=(1, count), levels=levels, canonical_size=224.0, canonical_level=4)
        self.set_channels()
        self.bins, self.cells, self.offset = bins, cells, offset
        self.end_offset = offset if end_offset is None else end_offset

    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        """[B*P,C,1,sum of n*n], image by image; grid by grid, row by row within each."""
        maps = [features[name] for name in self.levels]
        regions = to_regions(candidates.boxes, candidates.valid, maps[0].shape[0], max(self.strides))
        level = self.nearest(regions) if len(maps) > 1 else None
        return pool_on_levels(maps, regions, self.strides, level, self.pool)

    def nearest(self, regions: Tensor) -> Tensor:
        """int64 [R]: the map on which each region's area is nearest to ``cells`` squared; the finer one of two."""
        area = (regions[:, 3] - regions[:, 1]) * (regions[:, 4] - regions[:, 2])
        on_maps = area[:, None] / area.new_tensor(self.strides) ** 2
        return (on_maps - self.cells**2).abs().argmin(dim=1)

    def pool(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """[R,C,1,bins] of one map."""
        windows = self.windows(regions, scale, values.shape[-2:])
        grids = [ops.roi_pool(values, windows, (n, n), 1.0).flatten(2) for n in self.bins]
        return torch.cat(grids, dim=2).unsqueeze(2)

    def windows(self, regions: Tensor, scale: float, size: tuple[int, ...]) -> Tensor:
        """Regions [R,5] in px as windows of cells: left, top, right, bottom, the last ones included."""
        added = regions.new_tensor([self.offset, self.offset, self.end_offset, self.end_offset])
        corners = (regions[:, 1:] + added) * scale
        first, last = torch.floor(corners[:, :2]) + 1, torch.ceil(corners[:, 2:]) - 1
        middle = torch.round((corners[:, :2] + corners[:, 2:]) / 2)
        empty = last < first
        first, last = torch.where(empty, middle, first), torch.where(empty, middle, last)
        limit = first.new_tensor([size[1] - 1, size[0] - 1])
        first, last = (torch.minimum(corner.clamp(min=0), limit) for corner in (first, last))
        return torch.cat([regions[:, :1], first, last], dim=1)
