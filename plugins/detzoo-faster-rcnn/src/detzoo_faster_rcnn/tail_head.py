"""The box head of Inception and NASNet detectors: the rest of the classifier, on pooled regions of one of its maps."""

from __future__ import annotations

import dataclasses
from typing import Final, Literal

from torch import nn

from detzoo.components.backbones.freeze import freeze
from detzoo.components.backbones.inception import inception_v2_layers
from detzoo.components.backbones.inception_resnet import inception_resnet_v2_tail
from detzoo.components.backbones.nasnet import NasNetTail
from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, Feature, RoiHead, RoiPool
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions
from detzoo_faster_rcnn.box_coder import refuse_agnostic
from detzoo_faster_rcnn.head import Init, Predictor

_WIDTHS: Final = {"inception_v2": (576, 1024), "inception_resnet_v2": (1088, 1536)}
"""Channels of the map that a tail takes, and of what leaves it; NASNet's are those of its map."""


class RoiBoxTail(RoiHead):
    """Pooled regions through the layers behind the backbone's last map and an average, to classes and boxes.

    Statistics of the batch norms are constants, as in TensorFlow's detectors; their scale and shift learn.

    Args:
        features: the neck's maps.
        num_classes: K, without background.
        roi_pool: from the backbone's last map and regions to features of one size: 7x7 for Inception v2, 17x17 for the
            others.
        box_coder: how deltas become boxes.
        network: whose layers: ``inception_v2`` (mixed_5a to mixed_5c), ``inception_resnet_v2`` (mixed_7a to
            conv2d_7b), ``nasnet`` (cells 12 to 17). The last two need the extra ``detzoo[timm]``.
        class_agnostic: one box for all classes.
        init: of the last layer, see ``Predictor``.
        pretrained: own layers to start from the backbone's weights, where it names some: ``{tail.mixed_7a: mixed_7a}``.

    Raises:
        RecipeError: regions are pooled from a map that is not the network's.

    Source: Huang et al. 2017 (arXiv:1611.10012), section 3; TensorFlow Object Detection API,
    ``_extract_box_classifier_features`` of its feature extractors for Faster R-CNN.
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
        network: Literal["inception_v2", "inception_resnet_v2", "nasnet"],
        class_agnostic: bool = False,
        init: Init = "torch",
        pretrained: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        refuse_agnostic(box_coder, class_agnostic)
        if not class_agnostic:
            self.gives = self.gives - {Feature.ONE_BOX}
        self.roi_pool, self.coder = roi_pool, box_coder
        self.tail, channels = _tail(network, roi_pool.channels)
        freeze(self.tail, ["norm_stats"])  # regions of a few images are no sound statistics
        self.predictor = Predictor(channels, num_classes, class_agnostic=class_agnostic, init=init)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        """The regions [B,P] with this head's coder, logits [B,P,K+1] and deltas [B,P,K,4] (or [B,P,1,4])."""
        seen = self.tail(self.roi_pool(features, candidates)).mean((2, 3))  # [B*P,C]
        return dataclasses.replace(candidates, coder=self.coder), self.predictor(seen, candidates)


def _tail(network: str, channels: int) -> tuple[nn.Module, int]:
    """The layers for a map of ``channels``, and how many channels leave them."""
    if network == "nasnet":
        if channels % 24:
            raise RecipeError(
                f"head roi_box_tail: regions are pooled from a map of {channels} channels, nasnet's has 24 for each "
                "filter (168 filters: 4032). Use backbone: {type: nasnet, levels: [s16]} with neck: {type: identity}."
            )
        return NasNetTail(channels), channels
    inputs, outputs = _WIDTHS[network]
    if channels != inputs:
        raise RecipeError(
            f"head roi_box_tail: regions are pooled from a map of {channels} channels, {network}'s has {inputs}. "
            f"Use backbone: {{type: {network}}} with neck: {{type: identity}}, and name its map under roi_pool.levels."
        )
    if network == "inception_resnet_v2":
        return inception_resnet_v2_tail(), outputs
    layers = dict(inception_v2_layers().named_children())
    tail = nn.Sequential()
    for name in ("mixed_5a", "mixed_5b", "mixed_5c"):
        tail.add_module(name, layers[name])
    return tail, outputs
