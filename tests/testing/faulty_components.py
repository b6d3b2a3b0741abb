"""Components with one fault each, beside one of every kind without a fault."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from detzoo.components.box_coders import CentreSize
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.normalisers import Positives
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.samplers import RandomFraction
from detzoo.components.suppress import Nms
from detzoo.components.unreduced_losses import BinaryCrossEntropy, SmoothL1
from detzoo.interfaces import Backbone, DenseHead, Feature
from detzoo.testing.specimens import FEATURES, NUM_CLASSES
from detzoo.types import (
    Assignment,
    Candidates,
    DetectionBatch,
    DetectionSettings,
    FeatureMaps,
    FeatureSpec,
    ImageBatch,
    Level,
    Predictions,
    Targets,
)


class Net(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(8, 4.0)}
        self.stem = nn.Conv2d(3, 8, 4, 4)

    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.stem(pixels)}


class WrongStride(Net):
    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(8, 8.0)}


class WrongChannels(Net):
    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(9, 4.0)}


class InPlace(Net):
    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.stem(pixels.mul_(0.5))}


class LooksAtTheBatch(Net):
    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.stem(pixels - pixels.mean())}


class DropsInEvaluation(Net):
    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": nn.functional.dropout(self.stem(pixels), 0.5, training=True)}


class IdleParameter(Net):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.zeros(2))


class Unregistered(Net):
    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(3, 1, 1)


class LoadsWrongly(Net):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({k: v * 0.5 for k, v in state_dict.items()}, strict, assign)


class SeedsFromTheClock(Net):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        SeedsFromTheClock.made += 1
        nn.init.constant_(self.stem.weight, SeedsFromTheClock.made)


class Squares(DenseHead):
    """A square of two strides in every cell of every map; one 1x1 convolution a map."""

    gives = DenseHead.gives | {Feature.ONE_PER_CELL}
    xywh = False

    def __init__(self) -> None:
        super().__init__()
        self.coder = CentreSize()
        self.convs = nn.ModuleDict({name: nn.Conv2d(s.channels, NUM_CLASSES + 4, 1) for name, s in FEATURES.items()})

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        boxes, levels, said = [], [], []
        for name, conv in self.convs.items():
            height, width = features[name].shape[-2:]
            stride = FEATURES[name].stride
            x, y = torch.arange(width).repeat(height), torch.arange(height).repeat_interleave(width)
            corner = torch.stack([x, y], 1) * stride
            side = torch.full_like(corner, 2 * stride)
            boxes.append(torch.cat([corner, side if self.xywh else corner + side], 1))
            levels.append(Level(name, height, width, 1, stride))
            said.append(conv(features[name]).flatten(2).transpose(1, 2))
        every, out = torch.cat(boxes)[None], torch.cat(said, 1)
        places = Candidates(every, torch.ones(1, every.shape[1], dtype=torch.bool), tuple(levels), self.coder)
        return places, self.predictions(out)

    def predictions(self, out: Tensor) -> Predictions:
        return Predictions(out[..., 4:], self.scoring, out[..., None, :4])


class CornersAndSides(Squares):
    xywh = True


class OneClassShort(Squares):
    def predictions(self, out: Tensor) -> Predictions:
        return Predictions(out[..., 5:], self.scoring, out[..., None, :4])


class HidesBoxes(Squares):
    def predictions(self, out: Tensor) -> Predictions:
        return Predictions(out[..., 4:].detach(), self.scoring, out[..., None, :4].detach())


class DeclaresAQuality(Squares):
    gives = Squares.gives | {Feature.QUALITY_LOGITS}


class HidesAQuality(Squares):
    def predictions(self, out: Tensor) -> Predictions:
        return Predictions(out[..., 4:], self.scoring, out[..., None, :4], quality_logits=out.sum(-1))


class DeclaresOneGrid(Squares):
    gives = Squares.gives | {Feature.ONE_GRID}


class HidesItsLevels(Squares):
    gives = Squares.gives - {Feature.LEVELS}


class DeclaresADistribution(Squares):
    gives = Squares.gives | {Feature.DISTRIBUTION}


class AddsInItsConstructor(Squares):
    gives = Squares.gives - {Feature.ONE_BOX}

    def __init__(self) -> None:
        super().__init__()
        self.gives = self.gives | {Feature.ONE_BOX}


class DeclaresQualityTargets(MaxIou):
    gives = frozenset({Feature.QUALITY_TARGETS})


class HidesQualityTargets(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        found = super().forward(candidates, targets, predictions)
        return dataclasses.replace(found, quality=found.positive.float())


class LooksAtPredictions(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        assert predictions is not None
        return super().forward(candidates, targets, predictions)


class LooksAtLevels(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        candidates.levels[0]  # there is none on regions
        return super().forward(candidates, targets, predictions)


class UsesIgnored(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        blind = dataclasses.replace(targets, ignore=torch.zeros_like(targets.ignore))
        return super().forward(candidates, blind, predictions)


class DependsOnPadding(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        found = super().forward(candidates, targets, predictions)
        strict = torch.where(found.positive & (targets.boxes.shape[1] > 16), -1, found.index)
        return Assignment(strict, found.overlap)


class NeedsABox(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        targets.boxes.amax(dim=1)  # a reduction over no rows raises
        return super().forward(candidates, targets, predictions)


class ForgetsInvalid(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        every = dataclasses.replace(candidates, valid=torch.ones_like(candidates.valid))
        return super().forward(every, targets, predictions)


class WritesTargets(MaxIou):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        found = super().forward(candidates, targets, predictions)
        targets.labels.add_(1)
        return found


class Loss(MultiBox):
    def __init__(self) -> None:
        super().__init__(classification=BinaryCrossEntropy(), box=SmoothL1(), normaliser=Positives())


class NotANumberWhenEmpty(Loss):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        terms = super().forward(*given)
        count = given[3].positive.sum()
        return {name: term * count / count if given[0].deltas.shape[1] else term for name, term in terms.items()}


class DetachedZero(Loss):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        terms = super().forward(*given)
        return terms if given[0].deltas.shape[1] else {name: torch.zeros(()) for name in terms}


class IgnoresItsNormaliser(Loss):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        divisor = self.normaliser(given[3])
        return {name: term * divisor for name, term in super().forward(*given).items()}


class CountsPadding(Loss):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        return {name: term * given[2].boxes.shape[1] for name, term in super().forward(*given).items()}


class LooksAtAQuality(Loss):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        given[0].quality_logits.sum()
        return super().forward(*given)


class KeepsQualityToItself(Loss):
    def forward(self, *given: Any) -> dict[str, Tensor]:
        predictions, candidates, targets, assignment = given
        return super().forward(predictions, candidates, targets, dataclasses.replace(assignment, quality=None))


class IgnoresQuality(BinaryCrossEntropy):
    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        return super().forward(logits, labels)


class HidesThatItReads(BinaryCrossEntropy):
    gives = frozenset[Feature]()


class Post(PerClassDetections):
    def __init__(self) -> None:
        super().__init__(suppress=Nms(), keep=50)

    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        return self.changed(super().forward(predictions, candidates, batch, settings))

    def changed(self, found: DetectionBatch) -> DetectionBatch:
        return found


class LabelsFromOne(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        return dataclasses.replace(found, labels=found.labels + 1)


class GivesXywh(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        corner, end = found.boxes[..., :2], found.boxes[..., 2:]
        return dataclasses.replace(found, boxes=torch.cat([corner, end - corner], -1))


class NanScores(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        if not bool(found.valid.any()):
            return found
        return dataclasses.replace(found, scores=torch.where(found.valid, torch.nan, found.scores))


class WorstFirst(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        return DetectionBatch(*(getattr(found, name).flip(1) for name in ("boxes", "scores", "labels", "valid")))


class BeyondTheImage(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        return dataclasses.replace(found, boxes=found.boxes + 40)


class KeepsTooMany(Post):
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        return super().forward(predictions, candidates, batch, dataclasses.replace(settings, keep=50))


class KeepsItsThreshold(Post):
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        own = dataclasses.replace(settings, score_threshold=self.settings.score_threshold)
        return super().forward(predictions, candidates, batch, own)


class DrawsScores(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        return dataclasses.replace(found, scores=found.scores * torch.rand(()))


class DecodesHalf(CentreSize):
    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        return super().decode(deltas * 0.5, boxes, strides)


class AddsPositives(RandomFraction):
    def __init__(self) -> None:
        super().__init__(size=64, positive_fraction=0.25)

    def forward(self, assignment: Assignment) -> Assignment:
        found = super().forward(assignment)
        added = found.negative & assignment.positive.any(1, keepdim=True)
        return Assignment(torch.where(added, 0, found.index), found.overlap)
