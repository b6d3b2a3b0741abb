"""RoI pooling: features of a fixed size for every region, from one map or several."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torchvision import ops

from detzoo.errors import RecipeError
from detzoo.interfaces import RoiPool
from detzoo.ops.boxes import full_precision
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.ops.roi_pool import (
    align,
    align_one,
    assign_levels,
    pool_on_levels,
    ps_roi_pool,
    to_regions,
)
from detzoo.runtime.near_names import nearest
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs

Bins: TypeAlias = Annotated[int, Field(ge=1)]
Samples: TypeAlias = Annotated[int, Field(ge=0)]
Px: TypeAlias = Annotated[float, Field(gt=0)]


class LevelledPool(RoiPool):
    """What the four kinds share: the choice of maps, and of a map for each region.

    Args:
        features: maps of the neck.
        output: (rows, columns) of what comes out.
        levels: the maps to pool from, finest first; null for all. With one map every region is pooled from it.
        canonical_size: side in px of a region that is pooled from ``canonical_level``.
        canonical_level: that level; level k is the map of stride 2^k.

    Raises:
        RecipeError: a level that the neck does not give.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        *,
        output: tuple[int, int],
        levels: tuple[str, ...] | None,
        canonical_size: float,
        canonical_level: int,
    ) -> None:
        super().__init__()
        self.output = output
        self.levels = chosen_levels(features, levels)
        self.features = {name: features[name] for name in self.levels}
        self.strides = tuple(spec.stride for spec in self.features.values())
        self.canonical_size = canonical_size
        self.canonical_level = canonical_level

    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        """Pool.

        Args:
            features: the maps of ``levels``, [B,C,h,w] each; others are not looked at.
            candidates: boxes [1 or B,P,4] network px; they get no gradient. Invalid ones give zeros.

        Returns:
            [B*P,c,*output] in the maps' dtype, image by image.
        """
        maps = [features[name] for name in self.levels]  # only these: the RPN's extra level is not pooled from
        regions = to_regions(candidates.boxes, candidates.valid, maps[0].shape[0], max(self.strides))
        level = None
        if len(maps) > 1:  # one map: nothing to choose, and one kernel fewer
            level = assign_levels(
                regions[:, 1:],
                self.strides,
                canonical_size=self.canonical_size,
                canonical_level=self.canonical_level,
            )
        return self.pool_maps(maps, regions, level)

    def pool_maps(self, maps: list[Tensor], regions: Tensor, levels: Tensor | None) -> Tensor:
        """Regions [R,5] from the maps of their ``levels`` [R] -> [R,c,*output]."""
        return pool_on_levels(maps, regions, self.strides, levels, self.pool)

    @abstractmethod
    def pool(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """Regions [R,5] from one map [B,C,h,w] with ``scale`` cells per px -> [R,c,*output]."""

    def extra_repr(self) -> str:
        """Shown when the module is printed."""
        return f"output={self.output}, levels={self.levels}"


class PlainPool(LevelledPool):
    """Pooling that keeps the channels, which all maps must share."""

    def set_channels(self) -> None:
        """Take the channels of the maps.

        Raises:
            RecipeError: they differ.
        """
        if len({spec.channels for spec in self.features.values()}) > 1:
            found = ", ".join(f"{name} ({spec.channels})" for name, spec in self.features.items())
            raise RecipeError(
                f"levels: regions pooled from several maps must have the same channels, found: {found}. "
                "Name one level, or use neck: {type: fpn}."
            )
        self.channels = self.features[self.levels[0]].channels


class PositionSensitivePool(LevelledPool):
    """Pooling of score maps: bin (i, j) reads its own group of channels."""

    position_sensitive = True

    # computed only when asked for: rfcn pools maps of its own, whatever the neck's channels are
    @property
    def channels(self) -> int:  # type: ignore[override]
        """Of what comes out when the neck's own maps are pooled; heads that make score maps do not ask.

        Raises:
            RecipeError: the neck's channels do not split into the bins.
        """
        bins = self.output[0] * self.output[1]
        channels = self.features[self.levels[0]].channels
        if channels % bins:
            raise RecipeError(
                f"roi_pool: position-sensitive pooling into {self.output[0]}x{self.output[1]} bins needs maps whose "
                f"channels are a multiple of {bins}, but {self.levels[0]} has {channels}. "
                "Use roi_align or roi_pool with this head, or the head rfcn, which makes such maps."
            )
        return channels // bins


class RoiMaxPool(PlainPool):
    """RoIPool: the region is rounded to cells, its last row and column included, and each bin gives its maximum.

    Bins reach from floor to ceil, so that they may share cells; empty bins give 0.

    Source: Girshick, Fast R-CNN (arXiv:1504.08083), section 2.1; torchvision.ops.roi_pool.

    Args:
        features: maps of the neck.
        output: (rows, columns) of what comes out.
        levels: the maps to pool from, finest first; null for all.
        canonical_size: side in px of a region that is pooled from ``canonical_level``.
        canonical_level: that level; level k is the map of stride 2^k.
    """

    name: ClassVar[str] = "roi_pool"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        output: tuple[Bins, Bins] = (7, 7),
        levels: tuple[str, ...] | None = None,
        canonical_size: Px = 224.0,
        canonical_level: int = 4,
    ) -> None:
        super().__init__(
            features, output=output, levels=levels, canonical_size=canonical_size, canonical_level=canonical_level
        )
        self.set_channels()

    def pool(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """[R,C,*output]."""
        pooled: Tensor = ops.roi_pool(values, regions, self.output, scale)
        return pooled


class RoiAlign(PlainPool):
    """RoIAlign: bilinear samples at exact places, averaged or maximised in each bin.

    Source: He et al., Mask R-CNN (arXiv:1703.06870), section 3; torchvision.ops.roi_align.

    Args:
        features: maps of the neck.
        output: (rows, columns) of what comes out.
        levels: the maps to pool from, finest first; null for all.
        sampling_ratio: samples along each side of a bin; 0: as many as the bin has cells (detectron2).
        aligned: shift by half a cell, so that samples stand where the cells' centres are (detectron2); torchvision's
            detectors were trained without.
        reduce: ``average`` or ``max`` of a bin's samples; max needs a fixed ``sampling_ratio``.
        canonical_size: side in px of a region that is pooled from ``canonical_level``.
        canonical_level: that level; level k is the map of stride 2^k.

    Raises:
        RecipeError: max without a fixed number of samples.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        output: tuple[Bins, Bins] = (7, 7),
        levels: tuple[str, ...] | None = None,
        sampling_ratio: Samples = 0,
        aligned: bool = True,
        reduce: Literal["average", "max"] = "average",
        canonical_size: Px = 224.0,
        canonical_level: int = 4,
    ) -> None:
        super().__init__(
            features, output=output, levels=levels, canonical_size=canonical_size, canonical_level=canonical_level
        )
        self.set_channels()
        if reduce == "max" and sampling_ratio == 0:
            raise RecipeError(
                "reduce: max needs a fixed number of samples in each bin, but sampling_ratio is 0 (as many as fit). "
                "Set sampling_ratio to 1 or more (Mask R-CNN: 2), or reduce: average."
            )
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.reduce = reduce
        # torchvision's kernel only averages: one sample per bin, then max
        split = sampling_ratio if reduce == "max" else 1
        self.bins = (output[0] * split, output[1] * split)
        self.samples = 1 if reduce == "max" else sampling_ratio

    def pool_maps(self, maps: list[Tensor], regions: Tensor, levels: Tensor | None) -> Tensor:
        """[R,C,*output]; for the maximum each sample is a bin of its own first."""
        if (
            self.sampling_ratio
            and levels is not None
            and maps[0].device.type == "cpu"
            and not allows_dynamic_shapes(levels)
            and not torch.compiler.is_exporting()  # other runtimes have the operation itself
        ):
            pooled = self.pool_compiled(maps, regions, levels)
        else:
            pooled = super().pool_maps(maps, regions, levels)
        return F.max_pool2d(pooled, self.sampling_ratio) if self.reduce == "max" else pooled

    def pool_compiled(self, maps: list[Tensor], regions: Tensor, levels: Tensor) -> Tensor:
        """All maps at once, with static shapes on the CPU: there pooling every region from every map is dear."""
        wide = [full_precision(values) for values in maps]
        regions = regions.to(wide[0].dtype)
        pooled = align(wide, regions, self.strides, levels, self.bins, self.samples, aligned=self.aligned)
        return pooled.contiguous().to(maps[0].dtype)

    def pool(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """[R,C,*bins]."""
        return align_one(values, regions, scale, self.bins, self.samples, aligned=self.aligned)


class PsRoiPool(PositionSensitivePool):
    """Position-sensitive RoI pooling: bin (i, j) averages its own group of channels.

    Channel ``(c * rows + i) * columns + j`` of the map belongs to bin (i, j) of output channel c.

    Source: Dai et al., R-FCN (arXiv:1605.06409), section 2; torchvision.ops.ps_roi_pool (but with the map's last row
    and column, which it leaves out); py-R-FCN's layer.

    Args:
        features: maps of the neck; a head that pools score maps of its own passes those to ``forward`` instead.
        output: (rows, columns) of what comes out.
        levels: the maps to pool from, finest first; null for all.
        rounding: ``after``: corners are scaled, then rounded to cells (torchvision); ``before``: rounded to pixels, the
            last one included, then scaled (R-FCN as released).
        canonical_size: side in px of a region that is pooled from ``canonical_level``.
        canonical_level: that level; level k is the map of stride 2^k.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        output: tuple[Bins, Bins] = (7, 7),
        levels: tuple[str, ...] | None = None,
        rounding: Literal["after", "before"] = "after",
        canonical_size: Px = 224.0,
        canonical_level: int = 4,
    ) -> None:
        super().__init__(
            features, output=output, levels=levels, canonical_size=canonical_size, canonical_level=canonical_level
        )
        self.rounding: Literal["after", "before"] = rounding

    def pool(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """[R,C // bins,*output]."""
        return ps_roi_pool(values, regions, scale, self.output, rounding=self.rounding)


class PsRoiAlign(PositionSensitivePool):
    """Position-sensitive RoIAlign: bin (i, j) averages bilinear samples of its own group of channels.

    Samples are always aligned (shifted by half a cell).

    Source: Li et al., Light-Head R-CNN (arXiv:1711.07264); torchvision.ops.ps_roi_align. Regions thinner than
    0.01 px are widened to it: torchvision divides by zero samples there.

    Args:
        features: maps of the neck; a head that pools score maps of its own passes those to ``forward`` instead.
        output: (rows, columns) of what comes out.
        levels: the maps to pool from, finest first; null for all.
        sampling_ratio: samples along each side of a bin; 0: as many as the bin has cells.
        canonical_size: side in px of a region that is pooled from ``canonical_level``.
        canonical_level: that level; level k is the map of stride 2^k.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        output: tuple[Bins, Bins] = (7, 7),
        levels: tuple[str, ...] | None = None,
        sampling_ratio: Samples = 0,
        canonical_size: Px = 224.0,
        canonical_level: int = 4,
    ) -> None:
        super().__init__(
            features, output=output, levels=levels, canonical_size=canonical_size, canonical_level=canonical_level
        )
        self.sampling_ratio = sampling_ratio

    def pool(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """[R,C // bins,*output]."""
        regions = with_extent(regions)  # a region without extent has 0 adaptive samples: 0 / 0
        if torch.compiler.is_exporting():
            return self.pool_exported(values, regions, scale)
        pooled: Tensor = ops.ps_roi_align(values, regions, self.output, scale, self.sampling_ratio)
        return pooled

    def pool_exported(self, values: Tensor, regions: Tensor, scale: float) -> Tensor:
        """By RoIAlign of every channel into every bin, of which each bin keeps its own: other runtimes have that."""
        bins = self.output[0] * self.output[1]
        every: Tensor = ops.roi_align(values, regions, self.output, scale, self.sampling_ratio, aligned=True)
        own = torch.arange(bins, device=values.device) * (bins + 1)  # the diagonal of channel's bin by bin
        kept = every.reshape(-1, values.shape[1] // bins, bins * bins)[:, :, own]
        return kept.view(-1, kept.shape[1], *self.output)


def chosen_levels(features: FeatureSpecs, levels: tuple[str, ...] | None) -> tuple[str, ...]:
    """The maps to pool from: ``levels``, or all.

    Raises:
        RecipeError: with the maps that exist.
    """
    exist = "The neck gives: " + (", ".join(features) or "nothing") + "."
    chosen = tuple(features) if levels is None else levels
    if not chosen:
        raise RecipeError(f"levels is empty: name at least one. {exist}")
    for level in chosen:
        if level not in features:
            near = nearest(level, features, most=1)
            hint = f" ({near})" if near else ""
            raise RecipeError(f'levels: there is no map "{level}" to pool from{hint}. {exist}')
    strides = [features[level].stride for level in chosen]
    if len(set(chosen)) < len(chosen) or strides != sorted(strides):
        raise RecipeError(f"levels: {', '.join(chosen)} must be named once each, finest first. {exist}")
    return chosen


def with_extent(regions: Tensor) -> Tensor:
    """Regions [R,5] at least 0.01 px wide and high."""
    return torch.cat([regions[:, :3], torch.maximum(regions[:, 3:], regions[:, 1:3] + 0.01)], dim=1)  # [R,5]
