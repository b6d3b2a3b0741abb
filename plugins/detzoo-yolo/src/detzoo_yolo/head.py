"""YOLOv2's and v3's head: one convolution on each map says, for every anchor, where, whether, and what."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_yolo.box_coder import logit
from detzoo_yolo.layers import start_convolution


class YoloAnchorHead(DenseHead):
    """Four coordinates, an objectness and K classes for every anchor of every cell.

    Channels are in darknet's order: anchor by anchor x, y, w, h, objectness, classes.

    Args:
        features: the maps, finest first.
        num_classes: K.
        anchors: their sides on each map.
        box_coder: how coordinates become boxes.
        scoring: ``sigmoid`` for each class (v3) or ``categorical``: a softmax over them (v2).
        kernel: side of the convolution's window.
        object_prior: where objectness starts, through the bias; null: at 0.5, as in darknet.
        init_std: width of the normal distribution that the weights start from; null: darknet's √(2 / inputs).

    Source: YOLO9000, section 2; YOLOv3, sections 2.1 to 2.3.
    """

    name: ClassVar[str] = "yolo_anchor"
    gives = DenseHead.gives | {Feature.QUALITY_LOGITS, Feature.CATEGORICAL_SCORES}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        scoring: Literal["sigmoid", "categorical"] = "sigmoid",
        kernel: Annotated[int, Field(ge=1, le=7)] = 1,
        object_prior: Annotated[float, Field(gt=0, lt=1)] | None = None,
        init_std: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        per_cell = anchors.per_cell()
        if len(per_cell) != len(features):
            raise RecipeError(
                f"anchors: sizes are given for {len(per_cell)} maps, but the head gets {len(features)}: "
                f"{', '.join(features)}. Write one list for each map, finest first."
            )
        self.anchors, self.coder, self.scoring = anchors, box_coder, scoring
        self.columns = 5 + num_classes  # x, y, w, h, objectness
        self.predictors = nn.ModuleDict(
            {
                name: nn.Conv2d(spec.channels, count * self.columns, kernel, padding=kernel // 2)
                for (name, spec), count in zip(features.items(), per_cell, strict=True)
            }
        )
        for predictor in self.predictors.values():
            assert isinstance(predictor, nn.Conv2d)
            start_convolution(predictor, init_std)
            if object_prior is not None:
                assert predictor.bias is not None
                predictor.bias.data.view(-1, self.columns)[:, 4] = logit(object_prior)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Anchors and what is said of them, [B,N,K] and [B,N,1,4]."""
        maps = {name: features[name] for name in self.predictors}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        said = torch.cat(
            [rows(self.predictors[name](level), self.columns) for name, level in maps.items()], 1
        )  # [B,N,5+K]
        predictions = Predictions(
            class_logits=said[..., 5:],
            scoring=self.scoring,
            deltas=said[:, :, None, :4],
            quality_logits=said[..., 4],
        )
        return Candidates(boxes=boxes[None], valid=valid, levels=levels, coder=self.coder), predictions
