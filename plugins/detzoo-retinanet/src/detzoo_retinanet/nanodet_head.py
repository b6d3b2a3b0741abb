"""NanoDet's head: GFL's predictions from one narrow depthwise tower for each map."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import nn

from detzoo.components.csp import Layers
from detzoo.components.dense import shared_per_cell
from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.distributions import expectation
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_retinanet.tower import Depth, Probability, Std, Width, start, start_at


class NanoDetHead(DenseHead):
    """A sigmoid for each class and four distributions over bins in every cell, by one 1x1 convolution for both.

    Each map has a tower of its own, which classes and boxes share: that costs less than one tower of GFL's width, and
    needs no factor for each map.

    Args:
        features: the neck's maps, all of which it is slid over.
        num_classes: K, none of them background.
        anchors: one square in each cell: NanoDet's are 5 strides wide, which only its matching reads.
        box_coder: with bins: ``bins``, 8 of them.
        channels: of the towers.
        depth: depthwise separable 3x3 convolutions of each tower, a batch norm and a leaky ReLU behind either half.
        prior: where untrained scores start, through the last bias; null leaves it at 0.
        init_std: width of the normal distribution from which all weights start.
        norm_eps: of the batch norms.
        norm_momentum: share of the new batch in the running statistics.

    Source: RangiLyu/nanodet 0.x, ``NanoDetHead`` with ``share_cls_reg``; Li et al. 2020 (arXiv:2006.04388).
    """

    name: ClassVar[str] = "nanodet"
    gives = DenseHead.gives | {Feature.DISTRIBUTION, Feature.ONE_PER_CELL}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        channels: Width = 96,
        depth: Depth = 2,
        prior: Probability | None = 0.01,
        init_std: Std = 0.01,
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        super().__init__()
        self.anchors, self.coder = anchors, box_coder
        self.names, self.classes = tuple(features), num_classes
        cell = shared_per_cell(anchors, self.names, head="nanodet", levels="backbone.levels")
        if cell != 1 or box_coder.bins is None:
            raise RecipeError(
                "head nanodet: every cell predicts one box, as distributions over bins; give each level of anchors one "
                f"size, and ratios: [1.0] (found {cell} anchors in each cell), and use box_coder: {{type: bins}}"
            )
        self.bins = len(box_coder.bins)  # reg_max + 1
        layers = Layers(activation="leaky_relu", norm_eps=norm_eps, norm_momentum=norm_momentum)
        self.towers = nn.ModuleList(
            nn.Sequential(
                *(layers.separable(width, channels, 3) for width in [spec.channels, *[channels] * depth][:depth])
            )
            for spec in features.values()
        )
        self.predictors = nn.ModuleList(
            nn.Conv2d(channels if depth else spec.channels, num_classes + 4 * self.bins, 1)
            for spec in features.values()
        )
        start(self, init_std)
        for predictor in self.predictors:
            assert isinstance(predictor, nn.Conv2d)
            start_at(predictor, prior, outputs=num_classes)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Cells [1,N] and their predictions: [B,N,K], [B,N,1,4] and [B,N,4,R]; ``targets`` play no part."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        cells = Candidates(boxes[None], valid, levels=levels, coder=self.coder)
        raw = torch.cat(
            [
                rows(predictor(tower(one)), self.classes + 4 * self.bins)
                for one, tower, predictor in zip(maps.values(), self.towers, self.predictors, strict=True)
            ],
            dim=1,
        )
        logits, edges = raw[..., : self.classes], raw[..., self.classes :]
        distribution = edges.reshape(*edges.shape[:2], 4, self.bins)
        assert self.coder.bins is not None
        deltas = expectation(distribution, self.coder.bins)[:, :, None]  # [B,N,1,4], in strides
        return cells, Predictions(logits, self.scoring, deltas, distribution=distribution)
