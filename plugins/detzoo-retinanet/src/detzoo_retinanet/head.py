"""RetinaNet's head: two towers, for classes and for boxes, whose weights all maps share."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from detzoo.components.dense import shared_per_cell, shared_width
from detzoo.interfaces import Anchors, BoxCoder, DenseHead
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_retinanet.tower import Depth, Norm, Probability, Std, Width, predictor, start, start_at, tower


class RetinaNetHead(DenseHead):
    """A sigmoid for each class and a box for every anchor, from two towers that share no weights with each other.

    Args:
        features: the neck's maps, all of which it is slid over.
        num_classes: K, none of them background.
        anchors: as many in each cell of every map.
        box_coder: how deltas become boxes.
        channels: of the towers; null: as many as the maps have.
        depth: 3x3 convolutions of each tower.
        norm: ``none`` (paper), or ``group``: behind each convolution, which then has no bias (torchvision's v2).
        prior: where untrained scores start, through the last bias: the paper's pi. Without it (null) they start at 0.5
            and the first loss is that of a hundred thousand false positives.
        init_std: width of the normal distribution from which all weights start.

    Source: Lin et al. 2017 (arXiv:1708.02002), section 4; torchvision ``RetinaNetHead``.
    """

    name: ClassVar[str] = "retinanet"

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        channels: Width | None = None,
        depth: Depth = 4,
        norm: Norm = "none",
        prior: Probability | None = 0.01,
        init_std: Std = 0.01,
    ) -> None:
        super().__init__()
        self.anchors, self.coder = anchors, box_coder
        self.names, self.columns = tuple(features), num_classes
        inputs = shared_width(features, self.names, head="retinanet", levels="backbone.levels")
        cell = shared_per_cell(anchors, self.names, head="retinanet", levels="backbone.levels")
        width = channels or inputs
        last = width if depth else inputs
        self.class_tower = tower(inputs, width, depth, norm=norm, bias=False)
        self.box_tower = tower(inputs, width, depth, norm=norm, bias=False)
        self.classification = predictor(last, cell * num_classes)
        self.regression = predictor(last, cell * 4)
        start(self, init_std)
        start_at(self.classification, prior)  # last: start() sets all biases to 0

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Anchors [1,N] and their predictions, [B,N,K] and [B,N,1,4]."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        anchors = Candidates(boxes[None], valid, levels=levels, coder=self.coder)
        # [B,N,K], level by level as the anchors
        logits = torch.cat([self.classes(one) for one in maps.values()], dim=1)
        deltas = torch.cat([self.boxes(one) for one in maps.values()], dim=1)
        return anchors, Predictions(logits, self.scoring, deltas[:, :, None])

    def classes(self, feature: Tensor) -> Tensor:
        """Logits [B,n,K] of one map's anchors."""
        return rows(self.classification(self.class_tower(feature)), self.columns)

    def boxes(self, feature: Tensor) -> Tensor:
        """Deltas [B,n,4] of one map's anchors."""
        return rows(self.regression(self.box_tower(feature)), 4)
