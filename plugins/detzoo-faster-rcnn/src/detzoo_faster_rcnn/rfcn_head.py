"""R-FCN's head: position-sensitive maps of the whole image, in which each region only votes.

Letters: B images, P regions, K classes, h w a map's cells, k the bins of a region in each direction.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.components.dense import shared_width
from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, Feature, RoiHead, RoiPool
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions
from detzoo_faster_rcnn.box_coder import refuse_agnostic


class RfcnHead(RoiHead):
    """Score maps and box maps by 1x1 convolutions, pooled bin by bin from their own maps, then averaged.

    Nothing is computed for a region but pooling and a mean, so a thousand of them cost hardly more than one. The maps
    of class c and bin (i,j) are channel c*k*k + i*k + j; background is c = 0 and private to this head.

    The released network has eight outputs for its class-agnostic boxes, four of background and four of foreground.
    Background's are never trained nor read, so here there are four; their converter takes the last half.

    Args:
        features: the neck's maps.
        num_classes: K, without background.
        roi_pool: ``ps_roi_pool`` (the paper) or ``ps_roi_align``; its ``levels`` say on which maps of the neck the
            score maps stand (the paper: res5 alone) and its ``output`` says how many bins there are.
        box_coder: how deltas become boxes.
        channels: outputs of a 1x1 convolution and ReLU ahead of the maps (1024 after res5); null for none.
        class_agnostic: one box for all classes.
        init_std: width of the normal from which all weights start; biases start at 0.

    Several levels share the convolutions, as in later networks; the paper has one.

    Source: Dai et al. 2016 (arXiv:1605.06409), section 2, eq. 1 and "backbone architecture"; the released
    train_val.prototxt (layers conv_new_1, rfcn_cls, rfcn_bbox, ave_cls_score_rois).
    """

    name: ClassVar[str] = "rfcn"
    gives = RoiHead.gives | {Feature.ONE_BOX}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        roi_pool: RoiPool,
        box_coder: BoxCoder,
        channels: Annotated[int, Field(gt=0)] | None = 1024,
        class_agnostic: bool = True,
        init_std: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__()
        refuse_agnostic(box_coder, class_agnostic)
        if not class_agnostic:
            self.gives = self.gives - {Feature.ONE_BOX}
        if not roi_pool.position_sensitive:
            raise RecipeError(
                f"head rfcn: its score maps need position-sensitive pooling, {type(roi_pool).__name__} reads every "
                "channel in every bin. Use roi_pool: {type: ps_roi_pool} or {type: ps_roi_align}, or head roi_box."
            )
        self.roi_pool, self.coder = roi_pool, box_coder
        self.levels = roi_pool.levels
        inputs = shared_width(features, self.levels, head="rfcn", levels="roi_pool.levels")
        bins = roi_pool.output[0] * roi_pool.output[1]
        self.columns = num_classes + 1  # background first
        self.boxes = 1 if class_agnostic else num_classes  # background has none
        width = channels or inputs
        self.conv = nn.Sequential()
        if channels is not None:
            self.conv.extend((nn.Conv2d(inputs, channels, 1), nn.ReLU(inplace=True)))
        self.classification = nn.Conv2d(width, bins * self.columns, 1)
        self.regression = nn.Conv2d(width, bins * self.boxes * 4, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=init_std)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        """The regions [B,P] with this head's coder, logits [B,P,K+1] and deltas [B,P,1,4] (or [B,P,K,4])."""
        maps = {name: self.position_sensitive(features[name]) for name in self.levels}
        votes = self.votes(self.roi_pool(maps, candidates))  # [B*P,K+1+4]
        images, count = candidates.boxes.shape[:2]
        logits = votes[:, : self.columns].reshape(images, count, self.columns)
        deltas = votes[:, self.columns :].reshape(images, count, self.boxes, 4)
        return dataclasses.replace(candidates, coder=self.coder), Predictions(logits, self.scoring, deltas)

    def position_sensitive(self, feature: Tensor) -> Tensor:
        """Score maps, then box maps, [B,(K+1+4)*k*k,h,w], so that one pooling serves both."""
        seen = self.conv(feature)
        return torch.cat([self.classification(seen), self.regression(seen)], dim=1)

    def votes(self, bins: Tensor) -> Tensor:
        """The mean over the bins, [B*P,C,k,k] -> [B*P,C]."""
        return bins.mean(dim=(2, 3))  # average voting: R-FCN, section 2
