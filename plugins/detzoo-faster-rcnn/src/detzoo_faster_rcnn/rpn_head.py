"""The network of the region proposal network: one small convolution slid over every map."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.dense import shared_per_cell, shared_width
from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets


class RpnHead(DenseHead):
    """Objectness and box deltas for every anchor; its weights are shared by all maps.

    Args:
        features: the neck's maps.
        num_classes: K; 1 inside ``rpn``.
        anchors: candidates of every cell; one list of sizes for each map.
        box_coder: how deltas become boxes.
        levels: the maps it is slid over, finest first; null for all.
        channels: of its 3x3 convolutions; null: as many as the maps have.
        depth: number of 3x3 convolutions; torchvision's v2 detectors have two.
        scoring: ``sigmoid`` (torchvision, detectron2) or ``softmax`` over background and object (the paper's release).
        init_std: width of the normal from which all weights start; biases start at 0.

    Source: Ren et al. 2015, section 3.1; torchvision ``RPNHead``.
    """

    name: ClassVar[str] = "rpn"
    gives = DenseHead.gives | {Feature.SOFTMAX_SCORES}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        levels: tuple[str, ...] | None = None,
        channels: Annotated[int, Field(gt=0)] | None = None,
        depth: Annotated[int, Field(ge=1, le=8)] = 1,
        scoring: Literal["sigmoid", "softmax"] = "sigmoid",
        init_std: Annotated[float, Field(gt=0)] = 0.01,
    ) -> None:
        super().__init__()
        self.anchors, self.coder, self.scoring = anchors, box_coder, scoring
        self.names = _names(features, levels)
        inputs = shared_width(features, self.names, head="rpn", levels="levels")
        cell = shared_per_cell(anchors, self.names, head="rpn", levels="levels")
        width = channels or inputs
        self.columns = num_classes + (scoring == "softmax")  # the paper's two scores per anchor
        widths = [inputs, *[width] * depth]
        self.conv = nn.Sequential(
            *(Conv2dNormActivation(a, b, 3, norm_layer=None) for a, b in itertools.pairwise(widths))
        )
        self.classification = nn.Conv2d(width, cell * self.columns, 1)
        self.regression = nn.Conv2d(width, cell * 4, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=init_std)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Anchors [1,N] and their predictions, [B,N,C] and [B,N,1,4]."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        seen = [self.conv(one) for one in maps.values()]
        logits = torch.cat([rows(self.classification(one), self.columns) for one in seen], dim=1)
        deltas = torch.cat([rows(self.regression(one), 4) for one in seen], dim=1)
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        # [1,N,4]: all images share the anchors
        places = Candidates(boxes[None], valid, levels=levels, coder=self.coder)
        return places, Predictions(logits, self.scoring, deltas[:, :, None])


def _names(features: FeatureSpecs, levels: tuple[str, ...] | None) -> tuple[str, ...]:
    missing = [name for name in levels or () if name not in features]
    if missing:
        raise RecipeError(
            f"head rpn: there is no map {', '.join(missing)}; the neck gives {', '.join(features)}. "
            "Change levels, or the levels of backbone and neck."
        )
    return tuple(features) if levels is None else levels
