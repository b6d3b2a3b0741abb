"""The box head: the features of each region, pooled to one size, say what it is and where its box should be."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, Feature, RoiHead, RoiPool
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions
from detzoo_faster_rcnn.box_coder import refuse_agnostic
from detzoo_faster_rcnn.svd import linear

Width = Annotated[int, Field(gt=0)]
Init = Literal["torch", "normal"]


class Predictor(nn.Module):
    """The last layer: classes with background, and a box for each class or for all.

    Args:
        inputs: features of a region.
        num_classes: K.
        class_agnostic: one box for all classes.
        init: ``torch``: as PyTorch starts linear layers; ``normal``: 0.01 for classes, 0.001 for boxes (Fast R-CNN).
    """

    def __init__(self, inputs: int, num_classes: int, *, class_agnostic: bool, init: Init) -> None:
        super().__init__()
        self.boxes = 1 if class_agnostic else num_classes
        self.classification = nn.Linear(inputs, num_classes + 1)
        self.regression = nn.Linear(inputs, self.boxes * 4)
        if init == "normal":
            for layer, std in ((self.classification, 0.01), (self.regression, 0.001)):  # Fast R-CNN, section 2.3
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, seen: Tensor, rois: Candidates) -> Predictions:
        """Predictions of [B,P] regions from their features [B*P,inputs]."""
        images, count = rois.boxes.shape[:2]
        logits = self.classification(seen).view(images, count, self.classification.out_features)
        deltas = self.regression(seen).view(images, count, self.boxes, 4)
        return Predictions(logits, "softmax", deltas)


class RoiBox(RoiHead):
    """Pooled features through convolutions, if any, and fully connected layers, to classes and boxes.

    Args:
        features: the neck's maps.
        num_classes: K, without background.
        roi_pool: from maps and regions to features of one size.
        box_coder: how deltas become boxes.
        conv: outputs of 3x3 convolutions ahead of the fully connected layers (torchvision's v2: four of 256).
        conv_norm: behind each of them.
        fc: outputs of the fully connected layers: 4096, 4096 (VGG16), 1024, 1024 (FPN).
        fc_ranks: ranks to which they are compressed, a number or null for each (Fast R-CNN: 1024, 256); null: none is.
            Weights come from a trained detector without it: ``detzoo weights import --from svd``.
        dropout: after each fully connected layer; 0.5 in Fast R-CNN's release.
        class_agnostic: one box for all classes.
        init: of the last layer, see ``Predictor``.
        pretrained: own layers to start from layers of the file that ``backbone.weights`` names, where it names one:
            ``{fc.0: classifier.0, fc.1: classifier.3}`` takes fc6 and fc7 of torchvision's VGG16. null: none.

    Source: Girshick 2015 (arXiv:1504.08083), section 2; Lin et al. 2017 (FPN), section 4.2; torchvision
    ``TwoMLPHead``, ``FastRCNNConvFCHead``, ``FastRCNNPredictor``. Background has no box here.
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
        conv: tuple[Width, ...] = (),
        conv_norm: Literal["none", "batch"] = "none",
        fc: tuple[Width, ...] = (1024, 1024),
        fc_ranks: tuple[Width | None, ...] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        class_agnostic: bool = False,
        init: Init = "torch",
        pretrained: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        refuse_agnostic(box_coder, class_agnostic)
        if not class_agnostic:
            self.gives = self.gives - {Feature.ONE_BOX}
        ranks = (None,) * len(fc) if fc_ranks is None else fc_ranks
        if len(ranks) != len(fc):
            raise RecipeError(
                f"fc_ranks has {len(ranks)} values for the {len(fc)} layers of fc; give a rank, or null, for each"
            )
        self.roi_pool, self.coder, self.dropout = roi_pool, box_coder, dropout
        norm = nn.BatchNorm2d if conv_norm == "batch" else None
        self.normed = norm is not None and len(conv) > 0
        widths = [roi_pool.channels, *conv]
        self.conv = nn.Sequential(
            *(Conv2dNormActivation(a, b, 3, norm_layer=norm) for a, b in itertools.pairwise(widths))
        )
        height, width = roi_pool.output
        sizes = [widths[-1] * height * width, *fc]  # pooled features are flattened: channel, row, column
        self.fc = nn.ModuleList(
            linear(a, b, rank) for (a, b), rank in zip(itertools.pairwise(sizes), ranks, strict=True)
        )
        self.predictor = Predictor(sizes[-1], num_classes, class_agnostic=class_agnostic, init=init)
        for layer in self.conv.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        """The regions [B,P] with this head's coder, logits [B,P,K+1] and deltas [B,P,K,4] (or [B,P,1,4])."""
        pooled = self.roi_pool(features, candidates)
        valid = candidates.valid.expand(candidates.boxes.shape[:2]).flatten()
        seen = self.through_layers(self.convolved(pooled, valid).flatten(1))  # [B*P,last of fc]
        return dataclasses.replace(candidates, coder=self.coder), self.predictor(seen, candidates)

    def convolved(self, pooled: Tensor, valid: Tensor) -> Tensor:
        """The convolutions, [R,C,h,w] -> [R,last of conv,h,w].

        Where batch norms learn, padding (not ``valid`` [R]) enters no statistics; that waits for the device.
        """
        if not (self.normed and self.training):
            answer: Tensor = self.conv(pooled)
            return answer
        place = valid.nonzero().squeeze(1)
        # batch norm has no statistics of nothing: one row of zeros stands in, and is left out again
        rows = pooled[place] if len(place) else pooled.new_zeros(1, *pooled.shape[1:])
        seen: Tensor = self.conv(rows)[: len(place)]
        return seen.new_zeros(len(pooled), *seen.shape[1:]).index_copy(0, place, seen)  # zeros for padding: shapes stay

    def through_layers(self, seen: Tensor) -> Tensor:
        """The fully connected layers, [R,C*h*w] -> [R,last of fc]."""
        for layer in self.fc:
            seen = F.dropout(F.relu(layer(seen)), self.dropout, self.training)  # as VGG16's classifier: after the ReLU
        return seen
