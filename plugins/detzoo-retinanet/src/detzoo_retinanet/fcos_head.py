"""FCOS's head: classes, distances to the four edges and centreness of every cell."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from detzoo.components.dense import shared_per_cell, shared_width
from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_retinanet.tower import Depth, Norm, Probability, Std, Width, predictor, start, start_at, tower


class FcosHead(DenseHead):
    """A sigmoid for each class, four distances that are never negative, and a centreness, in every cell of every map.

    Args:
        features: the neck's maps, all of which it is slid over.
        num_classes: K, none of them background.
        anchors: one square in each cell, whose middle is the cell's point and whose side is the nominal stride.
        box_coder: how distances become boxes: ``edges``.
        channels: of the towers; null: as many as the maps have.
        depth: 3x3 convolutions of each tower.
        norm: ``group`` (paper, torchvision), whose convolutions keep their biases, or ``none``.
        positive: what keeps distances from being negative: ``relu`` (torchvision, the later release), or ``exp``
            (the paper's section 3.1), clamped at e^8.
        scale: each map multiplies its distances by a number of its own, learned from 1 (paper, section 3.2), else none
            (torchvision).
        centreness_on: the tower that centreness branches off: ``regression`` (torchvision, the later release) or
            ``classification`` (the paper's figure 2).
        prior: where untrained scores start, through the last bias; null leaves it at 0.
        init_std: width of the normal distribution from which all weights start.

    Source: Tian et al. 2019 (arXiv:1904.01355) and 2020 (arXiv:2006.09214), section 3; torchvision ``FCOSHead``.
    """

    name: ClassVar[str] = "fcos"
    gives = DenseHead.gives | {Feature.QUALITY_LOGITS, Feature.ONE_PER_CELL}

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
        norm: Norm = "group",
        positive: Literal["relu", "exp"] = "relu",
        scale: bool = False,
        centreness_on: Literal["classification", "regression"] = "regression",
        prior: Probability | None = 0.01,
        init_std: Std = 0.01,
    ) -> None:
        super().__init__()
        self.anchors, self.coder = anchors, box_coder
        self.names, self.columns = tuple(features), num_classes
        self.positive, self.centreness_on = positive, centreness_on
        inputs = shared_width(features, self.names, head="fcos", levels="backbone.levels")
        cell = shared_per_cell(anchors, self.names, head="fcos", levels="backbone.levels")
        if cell != 1:
            raise RecipeError(
                f"head fcos: every cell predicts one box, but the anchors are {cell} in each cell; "
                "give each level one size, and ratios: [1.0]"
            )
        width = channels or inputs
        last = width if depth else inputs
        self.class_tower = tower(inputs, width, depth, norm=norm, bias=True)
        self.box_tower = tower(inputs, width, depth, norm=norm, bias=True)
        self.classification = predictor(last, num_classes)
        self.regression = predictor(last, 4)
        self.centreness = predictor(last, 1)
        self.scales = nn.Parameter(torch.ones(len(features))) if scale else None  # the towers are shared; ranges differ
        start(self, init_std)
        start_at(self.classification, prior)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Cells [1,N] and their predictions, [B,N,K], [B,N,1,4] and [B,N]."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        cells = Candidates(boxes[None], valid, levels=levels, coder=self.coder)
        parts = [self.on_map(one, level) for level, one in enumerate(maps.values())]
        logits, distances, centreness = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        return cells, Predictions(logits, self.scoring, distances[:, :, None], quality_logits=centreness[..., 0])

    def on_map(self, feature: Tensor, level: int) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B,n,K], distances [B,n,4] and centreness [B,n,1] of one map."""
        seen, placed = self.class_tower(feature), self.box_tower(feature)
        beside = placed if self.centreness_on == "regression" else seen  # the later release: it depends on the box
        raw = self.regression(placed)
        if self.scales is not None:
            raw = raw * self.scales[level]
        # e^8: 2,981 strides, no overflow
        distances = raw.relu() if self.positive == "relu" else raw.clamp(max=8.0).exp()
        return rows(self.classification(seen), self.columns), rows(distances, 4), rows(self.centreness(beside), 1)
