"""YOLOX's decoupled head: classes on one branch, box and objectness on the other, each level with its own weights."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.components.csp import Activation, Layers
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.grid import grid_candidates, rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets

CELL = (1.0,)
"""Sides of the candidates, in strides: one candidate in each cell, the cell itself."""


class YoloxHead(DenseHead):
    """A sigmoid for each class, a box, and the objectness of every cell of every map.

    Args:
        features: the neck's maps; each gets a branch of its own.
        num_classes: K, none of them background.
        box_coder: how deltas become boxes: ``cell_corner``.
        channels: of every convolution but the last ones: 256 times the width of the network.
        depth: 3x3 convolutions of each branch.
        depthwise: they are depthwise separable (nano).
        activation: behind each norm.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.
        prior: where untrained scores and objectness start, through the last biases.

    Source: Ge et al. 2021 (arXiv:2107.08430), section 2.1 and figure 2; Megvii-BaseDetection/YOLOX, ``YOLOXHead``.
    """

    name: ClassVar[str] = "yolox"
    gives = DenseHead.gives | {Feature.QUALITY_LOGITS, Feature.ONE_PER_CELL}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        channels: Annotated[int, Field(ge=1, le=4096)] = 256,
        depth: Annotated[int, Field(ge=0, le=8)] = 2,
        depthwise: bool = False,
        activation: Activation = "silu",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03,
        prior: Annotated[float, Field(gt=0, lt=1)] = 0.01,
    ) -> None:
        super().__init__()
        self.coder, self.columns = box_coder, num_classes
        self.strides = {name: spec.stride for name, spec in features.items()}
        layers = Layers(depthwise=depthwise, activation=activation, norm_eps=norm_eps, norm_momentum=norm_momentum)

        def branch() -> nn.Sequential:
            return nn.Sequential(*(layers.spatial(channels, channels, 3) for _ in range(depth)))

        self.stems = nn.ModuleList(layers.plain(spec.channels, channels) for spec in features.values())
        self.class_branches = nn.ModuleList(branch() for _ in features)
        self.box_branches = nn.ModuleList(branch() for _ in features)
        self.classification = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in features)
        self.regression = nn.ModuleList(nn.Conv2d(channels, 4, 1) for _ in features)
        self.objectness = nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in features)
        for conv in (*self.classification, *self.objectness):
            assert isinstance(conv.bias, nn.Parameter)
            nn.init.constant_(conv.bias, -math.log((1 - prior) / prior))  # sigmoid of it is the prior

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Cells [1,N] and their predictions: [B,N,K], [B,N,1,4] and [B,N]."""
        maps = {name: features[name] for name in self.strides}
        cells = grid_candidates(maps, self.strides, CELL, coder=self.coder)
        parts = [self.on_map(one, level) for level, one in enumerate(maps.values())]
        logits, deltas, objectness = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return cells, Predictions(logits, self.scoring, deltas[:, :, None], quality_logits=objectness[..., 0])

    def on_map(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B,n,K], deltas [B,n,4] and objectness [B,n,1] of one map."""
        x = self.stems[level](feature)
        seen, placed = self.class_branches[level](x), self.box_branches[level](x)
        return (
            rows(self.classification[level](seen), self.columns),
            rows(self.regression[level](placed), 4),
            rows(self.objectness[level](placed), 1),
        )
