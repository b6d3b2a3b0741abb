"""The necks of D-FINE and DEIMv2: attention on the coarsest map, a pyramid of ELAN blocks; or a lighter one.

Letters: B images, C channels, h w cells.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.csp import Layers
from detzoo.components.necks.pyramid import check_pyramid
from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs
from detzoo_detr.hybrid_encoder import NORM_EPS, NORM_MOMENTUM, CellAttention, RepVggBlock, projection
from detzoo_detr.transformer import Transformer

Count = Annotated[int, Field(ge=1)]
Csp: TypeAlias = Literal["two", "split"]
UNIT: Final = Layers(norm_eps=NORM_EPS, norm_momentum=NORM_MOMENTUM)
"""Convolutions with norm and SiLU."""


class CspRep(nn.Module):
    """RepVGG blocks behind a 1x1 convolution, beside a plain 1x1 convolution; added, then a 3x3 convolution.

    Args:
        inputs: channels.
        outputs: channels.
        blocks: number of RepVGG blocks.
        csp: ``two`` 1x1 convolutions (D-FINE), or one that is ``split`` (DEIMv2), the first half being the plain one.

    Source: D-FINE's ``RepNCSPELAN4``, ``CSPLayer``; DEIMv2's ``CSPLayer2``.
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int, csp: Csp) -> None:
        super().__init__()
        parts = 2 if csp == "two" else 1
        self.enter = nn.ModuleList(UNIT.plain(inputs, outputs * 2 // parts) for _ in range(parts))
        self.blocks = nn.Sequential(*(RepVggBlock(outputs) for _ in range(blocks)))
        self.leave = UNIT.plain(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h,w]."""
        plain, deep = torch.cat([enter(x) for enter in self.enter], dim=1).chunk(2, dim=1)
        seen: Tensor = self.leave(plain + self.blocks(deep))
        return seen


class Elan(nn.Module):
    """A 1x1 convolution to two halves, two CSP layers one behind the other on the second; all four are joined.

    Args:
        inputs: channels.
        channels: of each half, and of what comes out.
        inner: channels of the CSP layers.
        blocks: RepVGG blocks in each of them.
        csp: of the CSP layers.

    Source: D-FINE's ``RepNCSPELAN4``, after Wang et al. 2024, YOLOv9 (arXiv:2402.13616), figure 4 (GELAN).
    """

    def __init__(self, inputs: int, channels: int, inner: int, *, blocks: int, csp: Csp) -> None:
        super().__init__()
        self.enter = UNIT.plain(inputs, 2 * channels)
        self.first = CspRep(channels, inner, blocks=blocks, csp=csp)
        self.second = CspRep(inner, inner, blocks=blocks, csp=csp)
        self.leave = UNIT.plain(2 * channels + 2 * inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,channels,h,w]."""
        halves = self.enter(x)
        first = self.first(halves[:, halves.shape[1] // 2 :])
        joined: Tensor = self.leave(torch.cat([halves, first, self.second(first)], dim=1))
        return joined


class DfineEncoder(Neck):
    """Attention within coarse maps, then from coarse to fine and from fine to coarse through ELAN blocks.

    Args:
        features: maps of the backbone, finest first, each of twice the stride of the one before.
        channels: of every map, inside and out; a multiple of 4 and of ``heads``.
        attended: names of the maps within which cells look at each other; null: the coarsest.
        layers: of that attention.
        heads: of that attention.
        feedforward: width of its hidden layers.
        dropout: in it, while training.
        expansion: of the channels inside ELAN blocks: half of ``channels`` times this, rounded down.
        blocks: RepVGG blocks in each CSP layer: 3 in L and X, 2 in M and N, 1 in S.
        join: neighbours are joined by ``concat`` (D-FINE) or ``sum`` (DEIMv2).
        csp: CSP layers enter by ``two`` convolutions (D-FINE) or by one that is ``split`` (DEIMv2).

    Maps are brought to the size of their neighbour, so that any input size works.

    Source: Peng et al. 2024, D-FINE (arXiv:2410.13842), section 5.1 and appendix; its ``HybridEncoder``; Huang et al.
    2025, DEIMv2 (arXiv:2509.20787), its ``HybridEncoder``.
    """

    name: ClassVar[str] = "dfine_encoder"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Count = 256,
        attended: tuple[str, ...] | None = None,
        layers: Annotated[int, Field(ge=0)] = 1,
        heads: Count = 8,
        feedforward: Count = 1024,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        expansion: Annotated[float, Field(gt=0, le=4)] = 1.0,
        blocks: Annotated[int, Field(ge=0, le=32)] = 3,
        join: Literal["concat", "sum"] = "concat",
        csp: Csp = "two",
    ) -> None:
        super().__init__()
        check_pyramid("dfine_encoder", features)
        attended = (list(features)[-1],) if attended is None else attended
        check_attended(attended, features, channels=channels, heads=heads)
        self.names, self.join, self.csp = tuple(features), join, csp
        size = Transformer(
            width=channels,
            heads=heads,
            encoder_layers=layers,
            feedforward=feedforward,
            dropout=dropout,
            activation="gelu",
        )
        self.project = nn.ModuleDict({name: projection(spec.channels, channels) for name, spec in features.items()})
        self.attend = nn.ModuleDict({name: CellAttention(size, positions="own") for name in attended if layers})
        inputs, inner, steps = (
            channels * (2 if join == "concat" else 1),
            int(expansion * channels // 2),
            len(features) - 1,
        )

        def mix() -> Elan:
            return Elan(inputs, channels, inner, blocks=blocks, csp=csp)

        # each list begins with the finest pair of neighbours
        self.laterals = nn.ModuleList(projection(channels, channels) for _ in range(steps))
        self.top_down = nn.ModuleList(mix() for _ in range(steps))
        self.downsamplings = nn.ModuleList(halving(channels) for _ in range(steps))
        self.bottom_up = nn.ModuleList(mix() for _ in range(steps))
        self.out = {name: FeatureSpec(channels, spec.stride, spec.size) for name, spec in features.items()}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Maps of the same names and sizes, [B,channels,h,w] each."""
        maps = {name: layer(features[name]) for name, layer in self.project.items()}
        maps |= {name: layer(maps[name]) for name, layer in self.attend.items()}
        finest, handed = self.coarse_to_fine([maps[name] for name in self.names])
        return dict(zip(self.names, self.fine_to_coarse(finest, handed), strict=True))

    def coarse_to_fine(self, maps: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """The finest merged map, and what each coarser level hands down, finer ones first."""
        x, handed = maps[-1], list[Tensor]()
        for row in reversed(range(len(self.laterals))):
            x = self.laterals[row](x)
            handed.insert(0, x)
            above = F.interpolate(x, size=maps[row].shape[-2:], mode="nearest")
            x = self.top_down[row](self.joined(above, maps[row]))
        return x, handed

    def fine_to_coarse(self, finest: Tensor, handed: list[Tensor]) -> list[Tensor]:
        """All maps, finest first."""
        merged = [finest]
        for step, mix, beside in zip(self.downsamplings, self.bottom_up, handed, strict=True):
            below = fitted(step(merged[-1]), beside)
            merged.append(mix(self.joined(below, beside)))
        return merged

    def joined(self, one: Tensor, other: Tensor) -> Tensor:
        """Both, as what a block takes."""
        return torch.cat([one, other], dim=1) if self.join == "concat" else one + other


class LiteEncoder(Neck):
    """A second map by pooling; the mean of the image is added to it, and the two are joined in both directions.

    Args:
        features: one map.
        channels: of both maps.
        expansion: of the channels inside ELAN blocks, as in ``dfine_encoder``.
        blocks: RepVGG blocks in each CSP layer.

    The second map has twice the stride: ``s32`` beside ``s16``.

    Source: Huang et al. 2025, DEIMv2 (arXiv:2509.20787), section 3, its ``LiteEncoder`` (atto, femto, pico).
    """

    name: ClassVar[str] = "lite_encoder"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Count = 64,
        expansion: Annotated[float, Field(gt=0, le=4)] = 0.34,
        blocks: Annotated[int, Field(ge=0, le=32)] = 2,
    ) -> None:
        super().__init__()
        if len(features) != 1:
            raise RecipeError(
                f"neck lite_encoder: it makes a pyramid of one map, and is given {len(features)} "
                f"({', '.join(features)}); choose one with backbone.levels, or take {{type: dfine_encoder}}"
            )
        ((self.fine, spec),) = features.items()
        self.coarse = f"s{2 * spec.stride:g}"
        inner = int(expansion * channels // 2)
        self.project = projection(spec.channels, channels)
        self.shrink = UNIT.plain(channels, channels)
        self.globally = UNIT.plain(channels, channels)
        self.finer = Elan(channels, channels, inner, blocks=blocks, csp="split")
        self.lower = UNIT.plain(channels, channels)
        self.coarser = Elan(channels, channels, inner, blocks=blocks, csp="split")
        half = None if spec.size is None else ((spec.size[0] + 1) // 2, (spec.size[1] + 1) // 2)
        self.out = {
            self.fine: FeatureSpec(channels, spec.stride, spec.size),
            self.coarse: FeatureSpec(channels, 2 * spec.stride, half),
        }

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """[B,channels,h,w] and [B,channels,~h/2,~w/2]."""
        fine = self.project(features[self.fine])
        coarse = self.shrink(pooled(fine))
        coarse = self.globally(coarse + coarse.mean((2, 3), keepdim=True))
        fine = self.finer(fine + F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"))
        return {self.fine: fine, self.coarse: self.coarser(coarse + self.lower(pooled(fine)))}


def pooled(x: Tensor) -> Tensor:
    """Means over 3x3 cells, every second of them; cells outside are zeros that count."""
    return F.avg_pool2d(x, 3, stride=2, padding=1)


def halving(channels: int) -> nn.Sequential:
    """A 1x1 convolution and a depthwise one of stride 2, without activations: D-FINE's ``SCDown``."""
    return nn.Sequential(
        projection(channels, channels),
        nn.Sequential(
            nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False),
            nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        ),
    )


def fitted(x: Tensor, like: Tensor) -> Tensor:
    """``x``, its cells repeated or left out where its map is of another size: backbones that round down."""
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, size=like.shape[-2:], mode="nearest")


def check_attended(attended: tuple[str, ...], features: FeatureSpecs, *, channels: int, heads: int) -> None:
    """Reject names that no map has, and channels that cannot be divided.

    Raises:
        RecipeError: with what is allowed.
    """
    unknown = [name for name in attended if name not in features]
    if unknown:
        raise RecipeError(f"neck dfine_encoder: attended names {', '.join(unknown)}; there are: {', '.join(features)}")
    if channels % 4 or channels % heads:
        raise RecipeError(
            f"neck dfine_encoder: channels {channels} must be a multiple of 4 (sines and cosines of rows and columns) "
            f"and of heads, {heads}"
        )
