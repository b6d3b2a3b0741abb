"""One predictor for all levels, behind a small tower: what TensorFlow's SSDs with a feature pyramid use."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_ssd.head import last_conv, priors_of_maps
from detzoo_ssd.initialisation import initialise, start_scores


class SsdSharedHead(DenseHead):
    """Class logits and box deltas from convolutions whose weights all levels share.

    Args:
        features: the maps.
        num_classes: K, without background.
        anchors: the priors; as many in each cell of every level.
        box_coder: how deltas become boxes.
        channels: of the shared layers; a map of another width goes through a 1x1 convolution of its own first.
        depth: 3x3 convolutions with ReLU before the predictors, for classes and boxes each.
        scoring: ``softmax`` over background and K classes, or ``sigmoid`` for each class.
        init_std: width of the normal distribution that all weights start from.
        foreground_prior: where scores start, through the bias (focal loss's initialisation): of each class with
            ``sigmoid``, of all classes together with ``softmax``; null leaves biases at 0.

    Source: TensorFlow Object Detection API, ``WeightSharedConvolutionalBoxPredictor``, without its batch norms.
    """

    name: ClassVar[str] = "ssd_shared"
    gives = DenseHead.gives | {Feature.SOFTMAX_SCORES}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        channels: Annotated[int, Field(ge=1, le=8192)] = 128,
        depth: Annotated[int, Field(ge=0, le=8)] = 2,
        scoring: Literal["softmax", "sigmoid"] = "softmax",
        init_std: Annotated[float, Field(gt=0)] = 0.01,
        foreground_prior: Annotated[float, Field(gt=0, lt=1)] | None = None,
    ) -> None:
        super().__init__()
        per_cell = priors_of_maps(anchors, features)
        if len(set(per_cell.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in per_cell.items())
            raise RecipeError(
                f"ssd_shared needs as many priors in each cell of every map, found {listed}. Use head type ssd."
            )
        priors = next(iter(per_cell.values()))
        self.anchors, self.coder, self.scoring = anchors, box_coder, scoring
        self.names = tuple(features)
        self.columns = num_classes + (scoring == "softmax")  # background is column 0
        self.lateral = nn.ModuleDict(
            {
                name: nn.Conv2d(spec.channels, channels, 1)
                for name, spec in features.items()  # a map of the right width needs none
                if spec.channels != channels
            }
        )
        self.classification = _tower(channels, depth, priors * self.columns)
        self.regression = _tower(channels, depth, priors * 4)
        initialise(self, "normal", init_std)  # before the prior: it would set the bias back to 0
        if foreground_prior is not None:
            start_scores(last_conv(self.classification), self.columns, scoring, foreground_prior)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Priors and their predictions, [B,N,C] and [B,N,1,4]."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        # [B,channels,h,w]
        wide = [self.lateral[name](level) if name in self.lateral else level for name, level in maps.items()]
        logits = torch.cat([rows(self.classification(level), self.columns) for level in wide], 1)
        deltas = torch.cat([rows(self.regression(level), 4) for level in wide], 1)
        priors = Candidates(boxes=boxes[None], valid=valid, levels=levels, coder=self.coder)  # [1,N,4]
        return priors, Predictions(class_logits=logits, scoring=self.scoring, deltas=deltas[:, :, None])


def _tower(channels: int, depth: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels, outputs, 3, padding=1))
