"""The mask head: the features of each box become a small mask for every class."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from detzoo.interfaces import MaskHead, RoiPool
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs

Width = Annotated[int, Field(ge=1, le=8192)]


class RoiMask(MaskHead):
    """Pooled features through 3x3 convolutions, doubled in size once, to one mask of logits for each class.

    Masks do not compete: each class has its own, and the box head has already said which one counts.

    Args:
        features: the neck's maps.
        num_classes: K; a mask has no background class.
        roi_pool: from maps and regions to features of one size, 14x14 in the paper; masks are twice as large.
        conv: outputs of the 3x3 convolutions before the doubling.
        conv_norm: behind each of them; torchvision's v2: ``batch``.
        dilation: of these convolutions.
        upsample: outputs of the 2x2 transposed convolution that doubles the size.
        class_agnostic: one mask for all classes.

    Source: He et al. 2017 (arXiv:1703.06870), figure 4, right; torchvision ``MaskRCNNHeads``, ``MaskRCNNPredictor``.
    The last layer starts near 0 as detectron2's does; torchvision's start depends on the number of classes, and with
    one class its first loss is above 10.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        roi_pool: RoiPool,
        conv: tuple[Width, ...] = (256, 256, 256, 256),
        conv_norm: Literal["none", "batch"] = "none",
        dilation: Annotated[int, Field(ge=1, le=16)] = 1,
        upsample: Width = 256,
        class_agnostic: bool = False,
    ) -> None:
        super().__init__()
        self.roi_pool = roi_pool
        self.normed = conv_norm == "batch"
        self.classes = 1 if class_agnostic else num_classes
        norm = nn.BatchNorm2d if self.normed else None
        widths = [roi_pool.channels, *conv]
        self.conv = nn.Sequential(
            *(Conv2dNormActivation(a, b, 3, norm_layer=norm, dilation=dilation) for a, b in itertools.pairwise(widths))
        )
        self.upsample = nn.ConvTranspose2d(widths[-1], upsample, 2, stride=2)  # 14 x 14 to 28 x 28
        self.classification = nn.Conv2d(upsample, self.classes, 1)
        for layer in (*self.conv.modules(), self.upsample):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.classification.weight, std=0.001)  # as detectron2's mask predictor
        assert self.classification.bias is not None
        nn.init.zeros_(self.classification.bias)

    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        """Mask logits [B,P,K,m,m] (or [B,P,1,m,m]) within regions [B,P]; those of invalid regions mean nothing."""
        pooled = self.roi_pool(features, candidates)
        logits = self._of_valid(pooled, candidates.valid.expand(candidates.boxes.shape[:2]).flatten())
        return logits.view(*candidates.boxes.shape[:2], *logits.shape[1:])

    def draw(self, pooled: Tensor) -> Tensor:
        """Features [R,C,h,w] -> mask logits [R,K,2h,2w]."""
        if self.normed and self.training and len(pooled) == 0:  # batch norm has no statistics of nothing
            return self.draw(pooled.new_zeros(1, *pooled.shape[1:]))[:0]
        logits: Tensor = self.classification(F.relu(self.upsample(self.conv(pooled))))
        return logits

    def _of_valid(self, pooled: Tensor, valid: Tensor) -> Tensor:
        """``draw`` of the valid rows, zeros elsewhere: padding costs nothing and enters no batch statistics.

        Training with batch norm needs this everywhere, and waits for the device there.
        """
        counts = self.normed and self.training
        if not (counts or allows_dynamic_shapes(pooled)) or (allows_dynamic_shapes(pooled) and bool(valid.all())):
            return self.draw(pooled)
        place = valid.nonzero().squeeze(1)
        drawn = self.draw(pooled[place])
        return torch.zeros(len(pooled), *drawn.shape[1:], dtype=drawn.dtype, device=drawn.device).index_copy(
            0, place, drawn
        )
