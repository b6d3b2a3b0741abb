"""RT-DETR's neck: attention within the coarsest map, convolutions between maps.

Letters: B images, C channels, h w cells, F channels of the neck.
"""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.csp import Layers
from detzoo.components.necks.pyramid import check_pyramid
from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.ops.reparameterised import Reparameterised, sum_of_branches
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs
from detzoo_detr.position import TEMPERATURE
from detzoo_detr.transformer import EncoderLayer, Transformer

NORM_EPS = 1e-5
NORM_MOMENTUM = 0.1


class HybridEncoder(Neck):
    """Cells of the coarsest map look at each other; then maps are merged from coarse to fine and back.

    Args:
        features: maps of the backbone, finest first, each of twice the stride of the one before.
        channels: F, of every map that leaves.
        attended: the maps whose cells look at each other (AIFI); null: the coarsest.
        layers: of that attention.
        heads: of that attention.
        feedforward: width of its hidden part.
        activation: inside its hidden part.
        dropout: share that is dropped after each of its parts while training.
        depth: RepVGG blocks in each merging layer.
        expansion: channels inside a merging layer, in F: 0.5 in R18 and R34, 1 in R50 and R101.
        positions: which cell gets which sines where a map is not square: its ``own`` (transformers), or, row and column
            mixed up, those of the ``release``. Equal on square maps.

    Source: Zhao et al. 2023 (arXiv:2304.08069), section 4.2, AIFI and CCFF; its ``HybridEncoder``. Difference: a map is
    brought to the size of its neighbour, not doubled, so that any input size works.
    """

    name: ClassVar[str] = "hybrid_encoder"

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Annotated[int, Field(ge=4, le=8192)] = 256,
        attended: tuple[str, ...] | None = None,
        layers: Annotated[int, Field(ge=0, le=32)] = 1,
        heads: Annotated[int, Field(ge=1)] = 8,
        feedforward: Annotated[int, Field(ge=1)] = 1024,
        activation: Literal["gelu", "relu", "silu"] = "gelu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        depth: Annotated[int, Field(ge=0, le=32)] = 3,
        expansion: Annotated[float, Field(gt=0, le=4)] = 1.0,
        positions: Literal["own", "release"] = "own",
    ) -> None:
        super().__init__()
        check_pyramid("hybrid_encoder", features)
        names = tuple(features)
        chosen = names[-1:] if attended is None else attended
        if strange := [name for name in chosen if name not in features]:
            raise RecipeError(f"neck hybrid_encoder: attended: there is no map {strange[0]}; maps: {', '.join(names)}")
        size = Transformer(
            width=channels,
            heads=heads,
            encoder_layers=layers,
            feedforward=feedforward,
            dropout=dropout,
            activation=activation,
        )
        self.entries = nn.ModuleDict({name: projection(spec.channels, channels) for name, spec in features.items()})
        self.attention = nn.ModuleDict({name: CellAttention(size, positions=positions) for name in chosen if layers})
        steps = names[:-1]  # the finer map of each pair of neighbours
        unit = Layers(norm_eps=NORM_EPS, norm_momentum=NORM_MOMENTUM)
        self.laterals = nn.ModuleDict({name: unit.plain(channels, channels) for name in steps})
        self.top_down = nn.ModuleDict(
            {name: RepCspLayer(unit, 2 * channels, channels, depth=depth, expansion=expansion) for name in steps}
        )
        self.downsamplings = nn.ModuleDict({name: unit.plain(channels, channels, 3, 2) for name in steps})
        self.bottom_up = nn.ModuleDict(
            {name: RepCspLayer(unit, 2 * channels, channels, depth=depth, expansion=expansion) for name in steps}
        )
        self.out = {name: FeatureSpec(channels, spec.stride, spec.size) for name, spec in features.items()}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Maps of the same names and sizes, [B,F,h,w] each."""
        maps = {name: entry(features[name]) for name, entry in self.entries.items()}
        for name, attention in self.attention.items():
            maps[name] = attention(maps[name])
        return self.fine_to_coarse(self.coarse_to_fine(maps))

    def coarse_to_fine(self, maps: FeatureMaps) -> FeatureMaps:
        """Every map merged with what the next coarser one hands up; the coarser ones as they were handed up."""
        names = list(maps)
        merged = {names[-1]: maps[names[-1]]}
        for finer, coarser in zip(names[-2::-1], names[:0:-1], strict=True):
            merged[coarser] = self.laterals[finer](merged[coarser])
            above = F.interpolate(merged[coarser], size=maps[finer].shape[-2:], mode="nearest")
            merged[finer] = self.top_down[finer](torch.cat([above, maps[finer]], dim=1))
        return {name: merged[name] for name in names}

    def fine_to_coarse(self, maps: FeatureMaps) -> FeatureMaps:
        """Every map merged with the next finer one."""
        names = list(maps)
        merged = {names[0]: maps[names[0]]}
        for finer, coarser in itertools.pairwise(names):
            below = self.downsamplings[finer](merged[finer])
            if below.shape[-2:] != maps[coarser].shape[-2:]:  # backbones that round down
                below = F.interpolate(below, size=maps[coarser].shape[-2:], mode="nearest")
            merged[coarser] = self.bottom_up[finer](torch.cat([below, maps[coarser]], dim=1))
        return merged


def projection(inputs: int, outputs: int) -> nn.Sequential:
    """A 1x1 convolution and a norm, without activation: how maps enter RT-DETR's neck, and its decoder."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, eps=NORM_EPS, momentum=NORM_MOMENTUM)
    )


class CellAttention(nn.Module):
    """Every cell of a map looks at every cell (AIFI).

    Args:
        size: of the transformer's encoder.
        positions: as in ``HybridEncoder``.
    """

    def __init__(self, size: Transformer, *, positions: Literal["own", "release"]) -> None:
        super().__init__()
        self.positions = positions
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(size.encoder_layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B,F,h,w] of the same shape."""
        position = cell_sines(x, self.positions)
        cells = x.flatten(2).transpose(1, 2)  # [B,h*w,F]
        for layer in self.layers:
            cells = layer(cells, position)
        return cells.transpose(1, 2).reshape(x.shape)


def cell_sines(x: Tensor, positions: Literal["own", "release"]) -> Tensor:
    """Sines and cosines of each cell's row and column number, rows first.

    Args:
        x: float [B,F,h,w]; only its shape, device and dtype are read.
        positions: as in ``HybridEncoder``.

    Returns:
        [1,h*w,F]: sin(row f), cos(row f), sin(column f), cos(column f) for F / 4 frequencies f = T^(-4i/F) each.
    """
    rows, columns = x.shape[-2:]
    precise = torch.float32 if x.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    step = torch.arange(x.shape[1] // 4, dtype=precise, device=x.device) / (x.shape[1] // 4)
    frequency = TEMPERATURE**-step
    cell = torch.arange(rows * columns, device=x.device)
    long = columns if positions == "own" else rows  # the release numbers cells down the columns
    angles = [part.to(precise)[:, None] * frequency for part in (cell // long, cell % long)]  # [h*w,F/4]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1).to(x.dtype)[None]


class RepCspLayer(nn.Module):
    """Two 1x1 convolutions side by side, one of them followed by RepVGG blocks; their sum.

    Args:
        unit: how convolutions are made.
        inputs: channels.
        outputs: channels.
        depth: RepVGG blocks.
        expansion: channels inside, in ``outputs``; unless 1, a 1x1 convolution follows.

    Source: RT-DETR's ``CSPRepLayer``.
    """

    def __init__(self, unit: Layers, inputs: int, outputs: int, *, depth: int, expansion: float) -> None:
        super().__init__()
        hidden = max(int(outputs * expansion), 1)
        self.main, self.short = unit.plain(inputs, hidden), unit.plain(inputs, hidden)
        self.blocks = nn.Sequential(*(RepVggBlock(hidden) for _ in range(depth)))
        self.merge = unit.plain(hidden, outputs) if hidden != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h,w]."""
        merged: Tensor = self.merge(self.blocks(self.main(x)) + self.short(x))
        return merged


class RepVggBlock(Reparameterised):
    """A 3x3 and a 1x1 convolution side by side, each with its norm; their sum, and SiLU. Folded, they are one.

    Args:
        channels: that come in and leave.

    Source: Ding et al. 2021 (arXiv:2101.03697), figure 2, without the identity; RT-DETR's ``RepVggBlock``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM),
        )
        self.pointwise = projection(channels, channels)
        self.activation = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] of the same shape."""
        seen: Tensor = self.activation(self.spatial(x) + self.pointwise(x))
        return seen

    def merged(self) -> nn.Module:
        """One 3x3 convolution with a bias, and SiLU."""
        return nn.Sequential(sum_of_branches(self.spatial, self.pointwise), self.activation)
