"""RTMDet's head: two branches whose convolutions all levels share, and whose norms none of them do."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.components.csp import Activation, Layers
from detzoo.components.dense import shared_width
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.grid import grid_candidates, rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets

POINT = (1.0,)
"""Sides of the candidates, in strides: a square of one stride around the point of each cell."""


class RtmdetSepBnHead(DenseHead):
    """A sigmoid for each class and the distances to four edges, in every cell of every map.

    The score of a class is to be the IoU of the box as well, so there is no objectness.

    Args:
        features: the neck's maps, all with the same number of channels.
        num_classes: K, none of them background.
        box_coder: how distances become boxes: ``edges``, in strides.
        channels: of the branches; null: as many as the maps have.
        depth: 3x3 convolutions of each branch.
        depthwise: they are depthwise separable; the published networks' are not.
        positive: what makes distances positive: ``exp`` (M, L, X), or ``none`` (tiny, S), where they may be negative.
        offset: the point in its cell from which distances are measured, in cells: 0 is the top left corner
            (mmdetection), 0.5 the middle.
        activation: behind each norm.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.
        prior: where untrained scores start, through the last bias.
        init_std: width of the normal distribution from which all weights start.

    Source: Lyu et al. 2022 (arXiv:2212.07784), section 3.2; mmdetection 3.3, ``RTMDetSepBNHead``.
    """

    name: ClassVar[str] = "rtmdet_sep_bn"
    gives = DenseHead.gives | {Feature.ONE_PER_CELL}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        channels: Annotated[int, Field(ge=1, le=4096)] | None = None,
        depth: Annotated[int, Field(ge=0, le=8)] = 2,
        depthwise: bool = False,
        positive: Literal["exp", "none"] = "exp",
        offset: Annotated[float, Field(ge=0, le=1)] = 0.0,
        activation: Activation = "silu",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        prior: Annotated[float, Field(gt=0, lt=1)] = 0.01,
        init_std: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__()
        self.coder, self.columns, self.positive, self.offset = box_coder, num_classes, positive, offset
        self.strides = {name: spec.stride for name, spec in features.items()}
        inputs = shared_width(features, tuple(features), head="rtmdet_sep_bn", levels="backbone.levels")
        width = channels or inputs
        last = width if depth else inputs
        layers = Layers(depthwise=depthwise, activation=activation, norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.class_branch = SharedBranch(layers, inputs, width, depth=depth, levels=len(features))
        self.box_branch = SharedBranch(layers, inputs, width, depth=depth, levels=len(features))
        self.classification = nn.ModuleList(nn.Conv2d(last, num_classes, 1) for _ in features)
        self.regression = nn.ModuleList(nn.Conv2d(last, 4, 1) for _ in features)
        start(self, init_std)
        for conv in self.classification:
            assert isinstance(conv.bias, nn.Parameter)
            nn.init.constant_(conv.bias, -math.log((1 - prior) / prior))  # sigmoid of it is the prior

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Points [1,N] and their predictions: [B,N,K] and [B,N,1,4]; ``targets`` play no part."""
        maps = {name: features[name] for name in self.strides}
        points = grid_candidates(maps, self.strides, POINT, coder=self.coder, offset=self.offset)
        parts = [self.on_map(one, level) for level, one in enumerate(maps.values())]
        logits, distances = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return points, Predictions(logits, self.scoring, distances[:, :, None])

    def on_map(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Logits [B,n,K] and distances [B,n,4] in strides, of one map."""
        logits = self.classification[level](self.class_branch(feature, level))
        distances = self.regression[level](self.box_branch(feature, level))
        if self.positive == "exp":
            distances = distances.exp()
        return rows(logits, self.columns), rows(distances, 4)


class SharedBranch(nn.Module):
    """3x3 convolutions that all levels share, each followed by the norm of its level and an activation.

    Args:
        layers: how convolutions are made: depthwise separable ones are two, each with norms.
        inputs: channels.
        channels: of every convolution.
        depth: their number.
        levels: number of maps.
    """

    def __init__(self, layers: Layers, inputs: int, channels: int, *, depth: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for row in range(depth):
            before = channels if row else inputs
            if layers.depthwise:
                self.convs.append(nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False))
                self.convs.append(nn.Conv2d(before, channels, 1, bias=False))
            else:
                self.convs.append(nn.Conv2d(before, channels, 3, padding=1, bias=False))
        self.norms = nn.ModuleList(
            nn.ModuleList(layers.norm_and_activation(conv.out_channels) for conv in self._convolutions())
            for _ in range(levels)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B,inputs,h,w] -> [B,channels,h,w] of the map number ``level``, the finest being 0."""
        norms = self.norms[level]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = norm(conv(x))
        return x

    def _convolutions(self) -> list[nn.Conv2d]:
        return [conv for conv in self.convs if isinstance(conv, nn.Conv2d)]


def start(head: nn.Module, std: float) -> None:
    """Draw the weights of all convolutions from a normal distribution of width ``std``, as ``init_weights`` does."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
