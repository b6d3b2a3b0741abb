"""The box head of ResNet without a pyramid: the network's own last stage, on pooled regions of its stride-16 map."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field
from torch import nn
from torchvision.models.resnet import Bottleneck

from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.interfaces import BoxCoder, Feature, RoiHead, RoiPool
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions
from detzoo_faster_rcnn.box_coder import refuse_agnostic
from detzoo_faster_rcnn.head import Init, Predictor


class RoiBoxRes5(RoiHead):
    """Pooled regions of the s16 map through stage 5 of ResNet (three bottlenecks) and an average, to classes and boxes.

    Args:
        features: the neck's maps.
        num_classes: K, without background.
        roi_pool: from the stride-16 map and regions to features of one size.
        box_coder: how deltas become boxes.
        stride: of the stage: 1 after pooling to 7x7 (tf-faster-rcnn), 2 after 14x14 (detectron2's C4).
        stride_in: the convolution of the first block that strides, as in the backbone.
        norm: ``frozen``: the batch norms of the pretrained network are constants, as in the paper.
        norm_eps: of the batch norms.
        class_agnostic: one box for all classes.
        init: of the last layer, see ``Predictor``.
        pretrained: own layers to start from the backbone's weights, where it names some: ``{layer4: layer4}``.

    Source: He et al. 2016 (arXiv:1512.03385), appendix A; endernewton/tf-faster-rcnn, resnet_v1.py; detectron2
    ``Res5ROIHeads``. Parameters are named as torchvision's (``layer4``), so that its weights load.
    """

    gives = RoiHead.gives | {Feature.ONE_BOX}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        roi_pool: RoiPool,
        box_coder: BoxCoder,
        stride: Literal[1, 2] = 1,
        stride_in: Literal["1x1", "3x3"] = "3x3",
        norm: Norm = "frozen",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        class_agnostic: bool = False,
        init: Init = "normal",
        pretrained: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        refuse_agnostic(box_coder, class_agnostic)
        if not class_agnostic:
            self.gives = self.gives - {Feature.ONE_BOX}
        self.roi_pool, self.coder = roi_pool, box_coder
        self.layer4 = _stage5(roi_pool.channels, stride, stride_in, norm, norm_eps)
        self.predictor = Predictor(roi_pool.channels * 2, num_classes, class_agnostic=class_agnostic, init=init)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        """The regions [B,P] with this head's coder, logits [B,P,K+1] and deltas [B,P,K,4] (or [B,P,1,4])."""
        seen = self.layer4(self.roi_pool(features, candidates))
        # global average: [B*P,2C]
        return dataclasses.replace(candidates, coder=self.coder), self.predictor(seen.mean((2, 3)), candidates)


def _stage5(inputs: int, stride: int, stride_in: str, norm: Norm, norm_eps: float) -> nn.Sequential:
    """Three bottlenecks from ``inputs`` channels to twice as many, with torchvision's names."""
    factory = norm_factory(norm, eps=norm_eps, momentum=0.1)
    shortcut = nn.Sequential(nn.Conv2d(inputs, inputs * 2, 1, stride=stride, bias=False), factory(inputs * 2))
    first = Bottleneck(inputs, inputs // 2, stride, shortcut, norm_layer=factory)
    if stride_in == "1x1":
        # Caffe's and Detectron's weights
        first.conv1.stride, first.conv2.stride = first.conv2.stride, first.conv1.stride
    others = [Bottleneck(inputs * 2, inputs // 2, norm_layer=factory) for _ in range(2)]
    stage = nn.Sequential(first, *others)
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return stage
