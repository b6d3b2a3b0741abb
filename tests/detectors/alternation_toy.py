"""A two-stage detector small enough to train by turns in a second: its parts all have batch norms, its neck a map that
only the first stage looks at, its backbone dropout.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detzoo.components.anchors import Grid
from detzoo.components.box_coders import CentreSize
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.normalisers import Sampled
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.postprocess.top_k import TopK
from detzoo.components.samplers import RandomFraction
from detzoo.components.suppress import Nms
from detzoo.components.unreduced_losses import BinaryCrossEntropy, CrossEntropy, SmoothL1
from detzoo.detectors.alternation import Alternation
from detzoo.detectors.two_stage import BoxSlots, TwoStage
from detzoo.interfaces import Backbone, DenseHead, Neck, Proposals, RoiHead, RoiPool
from detzoo.prediction.input_spec import InputSpec
from detzoo.recipes.recipe import Recipe
from detzoo.training import train
from detzoo.types import Candidates, FeatureMaps, FeatureSpec, ImageBatch, Predictions, Targets
from tests.training.training_toy import CLASSES, SIDE, ToyDataset, toy_plan

WIDTH = 8


class AlternatingToy(TwoStage):
    """Built without a recipe, trained on ``ToyDataset``."""


class _Backbone(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(WIDTH, 4.0)}
        self.layers = nn.Sequential(nn.Conv2d(3, WIDTH, 4, 4), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.Dropout(0.1))

    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.layers(pixels)}


class _Neck(Neck):
    """A second map, which the boxes never see: in step 2 its weights get no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(WIDTH, 4.0), "s8": FeatureSpec(WIDTH, 8.0)}
        self.same = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.BatchNorm2d(WIDTH, affine=False), nn.ReLU())
        self.coarse = nn.Conv2d(WIDTH, WIDTH, 3, 2, 1)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        fine = self.same(features["s4"])
        return {"s4": fine, "s8": self.coarse(fine).relu()}


class _Dense(DenseHead):
    def __init__(self) -> None:
        super().__init__()
        self.coder, self.anchors = CentreSize(), Grid(sizes=[[8], [12]], ratios=[1.0], offset=0.5)
        self.norm, self.classes, self.boxes = nn.BatchNorm2d(WIDTH), nn.Conv2d(WIDTH, 1, 1), nn.Conv2d(WIDTH, 4, 1)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        boxes, levels = self.anchors(features, (SIDE, SIDE))
        maps = [self.norm(one) for one in features.values()]
        logits = torch.cat([self.classes(one).flatten(2).transpose(1, 2) for one in maps], 1)
        deltas = torch.cat([self.boxes(one).flatten(2).transpose(1, 2) for one in maps], 1)
        valid = torch.ones((1, len(boxes)), dtype=torch.bool)
        return Candidates(boxes[None], valid, levels, self.coder), Predictions(logits, "sigmoid", deltas[:, :, None])


class _Rpn(Proposals):
    def __init__(self) -> None:
        super().__init__()
        self.head = _Dense()
        self.matcher = MaxIou(positive_threshold=0.5, negative_threshold=0.3, low_quality="always")
        self.sampler = RandomFraction(size=16)
        self.loss = MultiBox(classification=BinaryCrossEntropy(), box=SmoothL1(beta=0.1), normaliser=Sampled())
        self.postprocess = TopK(keep=12)

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Candidates:
        candidates, predictions = self.head(features, batch)
        found = self.postprocess(predictions, candidates, batch)
        return Candidates(found.boxes, found.valid, scores=found.scores).detach()

    def losses(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets
    ) -> tuple[Candidates, dict[str, Tensor]]:
        candidates, predictions = self.head(features, batch)
        objects = dataclasses.replace(targets, labels=torch.zeros_like(targets.labels))
        assignment = self.sampler(self.matcher(candidates, objects, predictions))
        terms = self.loss(predictions, candidates, objects, assignment)
        found = self.postprocess(predictions, candidates, batch)
        rois = Candidates(found.boxes, found.valid, scores=found.scores).detach()
        return rois, {f"rpn.{name}": term for name, term in terms.items()}


class _MiddleCell(RoiPool):
    """The cell in the middle of each region."""

    output = (1, 1)
    channels = WIDTH
    levels = ("s4",)

    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        boxes, cells = candidates.boxes, SIDE // 4
        x, y = ((boxes[..., i] + boxes[..., i + 2]).div(8).long().clamp(0, cells - 1) for i in (0, 1))
        rows = torch.arange(len(boxes))[:, None]
        return features["s4"][rows, :, y, x].flatten(0, 1)[:, :, None, None]


class _BoxHead(RoiHead):
    """The cell in the middle of each region says what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.roi_pool, self.coder, self.norm = _MiddleCell(), CentreSize(), nn.BatchNorm1d(WIDTH)
        self.classes, self.boxes = nn.Linear(WIDTH, len(CLASSES) + 1), nn.Linear(WIDTH, 4)

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        pooled = self.roi_pool(features, candidates).flatten(1)
        seen = self.norm(pooled).unflatten(0, candidates.boxes.shape[:2])
        return dataclasses.replace(candidates, coder=self.coder), Predictions(
            self.classes(seen), "softmax", self.boxes(seen)[:, :, None]
        )


def alternating_toy(seed: int = 0, alternation: Alternation | None = None, **plan: Any) -> AlternatingToy:
    """A seeded toy; ``plan`` goes to the training plan."""
    torch.manual_seed(seed)
    detector = AlternatingToy(
        backbone=_Backbone(),
        neck=_Neck(),
        proposals=_Rpn(),
        box=BoxSlots(
            head=_BoxHead(),
            matcher=MaxIou(),
            sampler=RandomFraction(size=8),
            loss=MultiBox(classification=CrossEntropy(), box=SmoothL1(beta=1.0), normaliser=Sampled()),
            postprocess=PerClassDetections(suppress=Nms(iou=0.5), keep=5),
        ),
        alternation=alternation,
    )
    detector.classes, detector.input = CLASSES, InputSpec(size=(SIDE, SIDE))
    detector.recipe = Recipe("alternating_toy", {"architecture": "two_stage"})
    detector.train_plan = toy_plan(**{"epochs": 1, **plan})
    return detector


def main(out: str) -> None:
    """What a test starts in several processes."""
    detector = alternating_toy(alternation=Alternation(), ema=None)
    train(detector, ToyDataset(), Path(out), device="cpu", workers=0, progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
