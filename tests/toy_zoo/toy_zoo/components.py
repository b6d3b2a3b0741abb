"""Small components with every type of key: they build, train and predict, and a broken recipe can break each key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.interfaces import Anchors, Backbone, BoxCoder, DenseHead, Draw, Feature, Transform
from detzoo.types import (
    Candidates,
    FeatureMaps,
    FeatureSpec,
    FeatureSpecs,
    ImageBatch,
    Level,
    Predictions,
    Sample,
    Targets,
)

Side = Annotated[float, Field(gt=0, le=8192)]


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """How the predictors start.

    Args:
        std: of the weights.
        bias: of the class logits.
    """

    std: Annotated[float, Field(gt=0)] = 0.01
    bias: float = 0.0


class ToyBackbone(Backbone):
    """One strided convolution a level."""

    def __init__(self, *, levels: tuple[Literal["s8", "s16"], ...] = ("s8", "s16"), channels: int = 8) -> None:
        super().__init__()
        if not levels:
            raise RecipeError("levels is empty; name at least one of s8, s16")
        self.out = {name: FeatureSpec(channels, float(name[1:])) for name in levels}
        self.convs = nn.ModuleDict({name: nn.Conv2d(3, channels, int(name[1:]), int(name[1:])) for name in levels})

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """One map a level."""
        return {name: conv(pixels).relu() for name, conv in self.convs.items()}


class ToyAnchors(Anchors):
    """Squares at the centre of each cell."""

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        sizes: Annotated[list[Side], Field(min_length=1)],
        strides: list[Annotated[int, Field(gt=0)]] | None = None,
        offset: tuple[float, float] = (0.5, 0.5),
    ) -> None:
        super().__init__()
        if strides is not None and len(strides) != len(features):
            raise RecipeError(f"strides has {len(strides)} values for the {len(features)} levels {', '.join(features)}")
        self.sizes, self.offset = sizes, offset
        self.strides = strides or [int(spec.stride) for spec in features.values()]

    def per_cell(self) -> tuple[int, ...]:
        """The same on each level."""
        return (len(self.sizes),) * len(self.strides)

    def forward(self, features: FeatureMaps, size: tuple[int, int]) -> tuple[Tensor, tuple[Level, ...]]:
        """Centres (offset + index) * stride, sides as given."""
        boxes, levels = [], []
        for (name, tensor), stride in zip(features.items(), self.strides, strict=True):
            height, width = tensor.shape[-2:]
            y = (torch.arange(height) + self.offset[0]) * stride
            x = (torch.arange(width) + self.offset[1]) * stride
            centres = torch.stack([x.repeat(height), y.repeat_interleave(width)], -1)[:, None]
            half = torch.tensor(self.sizes)[:, None] / 2
            boxes.append(torch.cat([centres - half, centres + half], -1).flatten(0, 1))
            levels.append(Level(name, height, width, len(self.sizes), stride))
        return torch.cat(boxes), tuple(levels)


class ToyHead(DenseHead):
    """A 1x1 predictor for classes and one for boxes, shared by all levels."""

    gives = DenseHead.gives | {Feature.SOFTMAX_SCORES, Feature.LINEAR_SCORES}

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        anchors: Anchors,
        box_coder: BoxCoder,
        scoring: Literal["softmax", "sigmoid", "linear"] = "softmax",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        batch_norm: bool = False,
        init: Initialisation = Initialisation(),
        level_scales: dict[str, Annotated[float, Field(gt=0)]] | None = None,
    ) -> None:
        super().__init__()
        self.anchors, self.coder, self.scoring = anchors, box_coder, scoring
        self.columns = num_classes + (scoring == "softmax")
        self.level_scales = level_scales or {}
        per_cell, channels = anchors.per_cell()[0], next(iter(features.values())).channels
        self.drop = nn.Dropout(dropout)
        self.norm = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        self.classes = nn.Conv2d(channels, per_cell * self.columns, 1)
        self.boxes = nn.Conv2d(channels, per_cell * 4, 1)
        for conv in (self.classes, self.boxes):
            nn.init.normal_(conv.weight, std=init.std)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.constant_(self.classes.bias, init.bias)  # type: ignore[arg-type]

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Level, row, column, cell entry."""
        boxes, levels = self.anchors(features, tuple(batch.pixels.shape[-2:]))
        maps = [self.drop(self.norm(m)) * self.level_scales.get(name, 1.0) for name, m in features.items()]
        logits = torch.cat([_rows(self.classes(m), self.columns) for m in maps], 1)
        deltas = torch.cat([_rows(self.boxes(m), 4) for m in maps], 1)
        valid = torch.ones(1, len(boxes), dtype=torch.bool)
        return Candidates(boxes[None], valid, levels, self.coder), Predictions(logits, self.scoring, deltas[:, :, None])


def _rows(tensor: Tensor, columns: int) -> Tensor:
    """[B,A*C,h,w] -> [B,h*w*A,C]."""
    return tensor.permute(0, 2, 3, 1).reshape(tensor.shape[0], -1, columns)  # no len(): exports leave it free


class ToyNoise(Transform):
    """Adds grey noise.

    Args:
        strength: of the noise, in grey values.
        only: labels of the images it touches; null is all of them.
    """

    def __init__(self, *, strength: Annotated[int, Field(ge=0, le=255)] = 8, only: list[int] | None = None) -> None:
        self.strength, self.only = strength, only

    def __call__(self, sample: Sample, rng: np.random.Generator, draw: Draw) -> Sample:
        """A new sample."""
        noise: Any = rng.integers(0, self.strength + 1, sample.image.shape)
        image = np.clip(sample.image + noise, 0, 255).astype(np.uint8)
        return Sample(**(vars(sample) | {"image": image}))
