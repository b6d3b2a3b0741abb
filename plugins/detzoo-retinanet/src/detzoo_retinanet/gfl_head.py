"""GFL's head: scores that say how good the box is, and a distribution over the distance to each edge."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from detzoo.components.dense import shared_per_cell, shared_width
from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.distributions import expectation
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_retinanet.tower import Depth, Norm, Probability, Std, Width, predictor, start, start_at, tower


class GflHead(DenseHead):
    """A sigmoid for each class and four distributions over bins in every cell, from two towers that all maps share.

    The score of a class is to be the IoU of the box as well, so there is no centreness. The box is the mean of the
    distributions.

    Args:
        features: the neck's maps, all of which it is slid over.
        num_classes: K, none of them background.
        anchors: one square in each cell: the paper's are 8 strides wide, which only its matching reads.
        box_coder: with bins: ``bins``.
        channels: of the towers; null: as many as the maps have.
        depth: 3x3 convolutions of each tower.
        norm: ``group`` (paper), behind each convolution, which then has no bias; or ``none``.
        prior: where untrained scores start, through the last bias; null leaves it at 0.
        init_std: width of the normal distribution from which all weights start.

    Each map multiplies the logits of its distributions by a number of its own, learned from 1.

    Source: Li et al. 2020 (arXiv:2006.04388), section 3; its release (implus/GFocal), ``GFLHead``.
    """

    name: ClassVar[str] = "gfl"
    gives = DenseHead.gives | {Feature.DISTRIBUTION, Feature.ONE_PER_CELL}

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
        prior: Probability | None = 0.01,
        init_std: Std = 0.01,
    ) -> None:
        super().__init__()
        self.anchors, self.coder = anchors, box_coder
        self.names, self.columns = tuple(features), num_classes
        inputs = shared_width(features, self.names, head="gfl", levels="backbone.levels")
        cell = shared_per_cell(anchors, self.names, head="gfl", levels="backbone.levels")
        if cell != 1:
            raise RecipeError(
                f"head gfl: every cell predicts one box, but the anchors are {cell} in each cell; "
                "give each level one size, and ratios: [1.0]"
            )
        if box_coder.bins is None:
            raise RecipeError(
                "head gfl: it predicts a distribution over bins, and its box coder has none; use box_coder: "
                "{type: bins}"
            )
        self.bins = len(box_coder.bins)  # reg_max + 1
        width = channels or inputs
        last = width if depth else inputs
        self.class_tower = tower(inputs, width, depth, norm=norm, bias=False)
        self.box_tower = tower(inputs, width, depth, norm=norm, bias=False)
        self.classification = predictor(last, num_classes)
        self.regression = predictor(last, 4 * self.bins)
        self.scales = nn.Parameter(torch.ones(len(features)))
        start(self, init_std)
        start_at(self.classification, prior)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Cells [1,N] and their predictions: [B,N,K], [B,N,1,4] and [B,N,4,R]; ``targets`` play no part."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        cells = Candidates(boxes[None], valid, levels=levels, coder=self.coder)
        logits = torch.cat([rows(self.classification(self.class_tower(one)), self.columns) for one in maps.values()], 1)
        distribution = torch.cat([self.edges(one, level) for level, one in enumerate(maps.values())], dim=1)
        assert self.coder.bins is not None
        deltas = expectation(distribution, self.coder.bins)[:, :, None]  # [B,N,1,4], in strides
        return cells, Predictions(logits, self.scoring, deltas, distribution=distribution)

    def edges(self, feature: Tensor, level: int) -> Tensor:
        """Logits [B,n,4,R] of one map's distributions over left, top, right and bottom."""
        raw = self.regression(self.box_tower(feature)) * self.scales[level]  # logits are scaled, as in GFLHead
        flat = rows(raw, 4 * self.bins)
        return flat.view(*flat.shape[:2], 4, self.bins)
