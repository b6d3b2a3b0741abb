"""SSD's head: on every map, one small predictor for the classes of its priors and one for their boxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, BoxCoder, DenseHead, Feature
from detzoo.ops.grid import rows
from detzoo.types import Candidates, FeatureMaps, FeatureSpecs, ImageBatch, Predictions, Targets
from detzoo_ssd.initialisation import Init, initialise, start_scores

Predictor: TypeAlias = Literal["conv3x3", "conv1x1", "depthwise"]


class SsdHead(DenseHead):
    """Class logits and box deltas for every prior of every map.

    Args:
        features: the maps, finest first; each gets predictors of its own.
        num_classes: K, without background.
        anchors: the priors.
        box_coder: how deltas become boxes.
        predictors: the convolution on each map: ``conv3x3`` (paper), ``conv1x1`` (TF's MobileNet SSDs), or
            ``depthwise``: 3x3 depthwise, norm, activation, then 1x1 (SSDLite). One entry serves all maps.
        scoring: ``softmax`` over background and K classes (paper), or ``sigmoid`` for each class (TF).
        norm: between the two convolutions of a ``depthwise`` predictor.
        activation: likewise.
        norm_eps: batch norm's; SSDLite uses 1e-3.
        norm_momentum: batch norm's; SSDLite uses 0.03.
        init: ``xavier`` (uniform; the paper's released code) or ``normal`` (SSDLite).
        init_std: width of ``normal``.
        foreground_prior: where scores start, through the bias (focal loss's initialisation): of each class with
            ``sigmoid``, of all classes together with ``softmax``; null leaves biases at 0.

    Source: Liu et al. 2016, section 2.1; SSDLite: Sandler et al. 2018, section 6.2, torchvision's ssdlite.py.
    """

    name: ClassVar[str] = "ssd"
    gives = DenseHead.gives | {Feature.SOFTMAX_SCORES}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        predictors: list[Predictor],
        scoring: Literal["softmax", "sigmoid"] = "softmax",
        norm: Literal["none", "batch"] = "none",
        activation: Literal["relu", "relu6"] = "relu",
        norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        init: Init = "xavier",
        init_std: Annotated[float, Field(gt=0)] = 0.03,
        foreground_prior: Annotated[float, Field(gt=0, lt=1)] | None = None,
    ) -> None:
        super().__init__()
        kinds = predictors * len(features) if len(predictors) == 1 else predictors
        if len(kinds) != len(features):
            raise RecipeError(
                f"predictors has {len(predictors)} entries, but the head gets {len(features)} maps: "
                f"{', '.join(features)}. Give one entry for all, or one for each."
            )
        self.anchors, self.coder, self.scoring = anchors, box_coder, scoring
        self.names = tuple(features)
        self.columns = num_classes + (scoring == "softmax")  # background is column 0 of a softmax, private to it
        make = partial(
            _predictor,
            norm=partial(nn.BatchNorm2d, eps=norm_eps, momentum=norm_momentum) if norm == "batch" else None,
            activation=nn.ReLU6 if activation == "relu6" else nn.ReLU,
        )
        per_cell = priors_of_maps(anchors, features)
        places = [
            (kind, spec.channels, per_cell[name]) for kind, (name, spec) in zip(kinds, features.items(), strict=True)
        ]
        self.classification = nn.ModuleList(make(kind, width, n * self.columns) for kind, width, n in places)
        self.regression = nn.ModuleList(make(kind, width, n * 4) for kind, width, n in places)
        initialise(self.classification, init, init_std)  # the heads alone: the backbone has its own start
        initialise(self.regression, init, init_std)
        if foreground_prior is not None:
            for predictor in self.classification:
                start_scores(last_conv(predictor), self.columns, scoring, foreground_prior)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Priors and their predictions, [B,N,C] and [B,N,1,4]."""
        maps = {name: features[name] for name in self.names}
        height, width = batch.pixels.shape[-2:]
        boxes, levels = self.anchors(maps, (height, width))
        logits = _flat(self.classification, maps, self.columns)
        deltas = _flat(self.regression, maps, 4)
        valid = torch.ones((1, boxes.shape[0]), dtype=torch.bool, device=boxes.device)
        priors = Candidates(boxes=boxes[None], valid=valid, levels=levels, coder=self.coder)
        return priors, Predictions(class_logits=logits, scoring=self.scoring, deltas=deltas[:, :, None])


def last_conv(module: nn.Module) -> nn.Conv2d:
    """The convolution whose outputs are the predictions."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)][-1]


def priors_of_maps(anchors: Anchors, features: FeatureSpecs) -> dict[str, int]:
    """Map -> how many priors each of its cells has.

    Raises:
        RecipeError: the anchors are for another number of maps.
    """
    per_cell = anchors.per_cell()
    if len(per_cell) != len(features):
        raise RecipeError(
            f"anchors: sizes are given for {len(per_cell)} maps, but the head gets {len(features)}: "
            f"{', '.join(features)}. Write one list for each map, finest first."
        )
    return dict(zip(features, per_cell, strict=True))


def _flat(predictors: nn.ModuleList, maps: FeatureMaps, columns: int) -> Tensor:
    """[B,N,columns], flattened level, row, column, cell entry."""
    flat = [rows(predictor(level), columns) for predictor, level in zip(predictors, maps.values(), strict=True)]
    return torch.cat(flat, dim=1)


def _predictor(
    kind: Predictor,
    channels: int,
    outputs: int,
    *,
    norm: Callable[..., nn.Module] | None,
    activation: Callable[..., nn.Module],
) -> nn.Module:
    if kind == "conv3x3":
        return nn.Conv2d(channels, outputs, 3, padding=1)
    if kind == "conv1x1":  # TensorFlow's kernel_size 1
        return nn.Conv2d(channels, outputs, 1)
    depthwise = Conv2dNormActivation(
        channels, channels, 3, groups=channels, norm_layer=norm, activation_layer=activation, bias=norm is None
    )
    return nn.Sequential(depthwise, nn.Conv2d(channels, outputs, 1))
