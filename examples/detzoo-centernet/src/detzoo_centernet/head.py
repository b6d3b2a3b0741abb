"""CenterNet's head: a heatmap of centres for each class, and for each cell the centre's offset and the box's size."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, DenseHead, Feature
from detzoo.ops.grid import grid_candidates, rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets

CELL = (1.0,)
"""Sides of the candidates, in strides: each is its cell."""


class CenterNetHead(DenseHead):
    """Three branches of a 3x3 and a 1x1 convolution over one fine map.

    Args:
        features: the neck's maps: one, of stride 4 in the paper.
        num_classes: K, none of them background.
        box_coder: how offset and size become a box: ``centre_in_cell``.
        channels: of each branch.
        prior: where untrained heatmaps start.

    Source: Zhou et al. 2019 (arXiv:1904.07850), sections 3 and 4; xingyizhou/CenterNet, heads ``hm``, ``reg``, ``wh``.
    """

    name: ClassVar[str] = "centernet"
    gives = DenseHead.gives | {Feature.ONE_PER_CELL, Feature.ONE_GRID}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        channels: Annotated[int, Field(ge=1)] = 64,
        prior: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        if len(features) != 1:
            raise RecipeError(
                f"head centernet: it reads one map, found {', '.join(features)}; choose it with neck.levels"
            )
        ((self.level, spec),) = features.items()
        self.coder, self.stride, self.columns = box_coder, spec.stride, num_classes
        self.heatmap = branch(spec.channels, channels, num_classes)
        self.offset = branch(spec.channels, channels, 2)
        self.size = branch(spec.channels, channels, 2)
        last = self.heatmap[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -math.log((1 - prior) / prior))  # sigmoid of it is the prior

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Cells [1,N], logits [B,N,K] and deltas [B,N,1,4]; ``targets`` play no part."""
        fine = features[self.level]
        cells = grid_candidates({self.level: fine}, {self.level: self.stride}, CELL, coder=self.coder)
        logits = rows(self.heatmap(fine), self.columns)
        deltas = torch.cat([rows(self.offset(fine), 2), rows(self.size(fine), 2)], dim=-1)
        return cells, Predictions(logits, self.scoring, deltas.unsqueeze(2))


def branch(inputs: int, channels: int, outputs: int) -> nn.Sequential:
    """[B,inputs,h,w] -> [B,outputs,h,w]."""
    return nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, outputs, 1))
