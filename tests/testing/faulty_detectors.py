"""One-stage detectors with one fault each, beside one without a fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detzoo.detectors.one_stage import OneStage
from detzoo.interfaces import Backbone, DenseHead, Loss, Matcher, Neck, PostProcess, Sampler
from detzoo.prediction.detections import Detections
from detzoo.types import DetectionBatch, DetectionSettings, ImageBatch, Targets


class Right(OneStage):
    """The meta-architecture itself, with methods that faults override."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        neck: Neck,
        head: DenseHead,
        matcher: Matcher,
        sampler: Sampler,
        loss: Loss,
        postprocess: PostProcess,
        matchers: dict[str, Matcher] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            matcher=matcher,
            sampler=sampler,
            loss=loss,
            postprocess=postprocess,
            matchers=matchers,
        )
        self.add_parts()

    def add_parts(self) -> None:
        """Whatever the fault needs in addition to the parts of the recipe."""

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return self.terms(super().losses(batch, targets), batch, targets)

    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return terms

    def predict(self, images: Sequence[Any], **settings: Any) -> list[Detections]:
        return [self.found(one) for one in super().predict(images, **settings)]

    def found(self, one: Detections) -> Detections:
        return one


class NanWithoutObjects(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        share = targets.valid.sum() / targets.valid.sum()  # 0 / 0 in a batch without objects
        return {name: term * share for name, term in terms.items()}


class RaisesWithoutObjects(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        targets.boxes[targets.valid].amax(0)  # a reduction over no rows raises
        return terms


class NoBoxTermWithoutObjects(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return terms if bool(targets.valid.any()) else {name: terms[name] for name in terms if name != "box"}


class InfiniteForThinBoxes(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        boxes = targets.boxes[targets.valid]
        return terms | {"width": terms["box"].detach() - (boxes[:, 2] - boxes[:, 0]).log().sum() + 0 * terms["box"]}


class Detached(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return {name: term.detach() for name, term in terms.items()}


class DetachedBoxes(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return terms | {"box": terms["box"].detach()}


class NoTerms(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return {}


class IdleParameter(Right):
    def add_parts(self) -> None:
        self.idle = nn.Parameter(torch.zeros(2))


class WritesPixels(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        batch.pixels.data.mul_(0.5)
        return terms


class WritesTargets(Right):
    def terms(self, terms: dict[str, Tensor], batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        targets.labels.add_(1)
        return terms


class WritesImages(Right):
    def predict(self, images: Sequence[Any], **settings: Any) -> list[Detections]:
        found = super().predict(images, **settings)
        for image in images:
            image[:2] = 0
        return found


class StaysInTraining(Right):
    def predict(self, images: Sequence[Any], **settings: Any) -> list[Detections]:
        found = super().predict(images, **settings)
        self.neck.train()
        return found


class CountsImages(Right):
    seen: Tensor

    def add_parts(self) -> None:
        self.register_buffer("seen", torch.zeros(()))

    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        self.seen += len(batch.pixels)
        return super().detect(batch, settings)


class LabelsFromOne(Right):
    def found(self, one: Detections) -> Detections:
        return dataclasses.replace(one, labels=one.labels + 1)


class BoxesInNetworkPixels(Right):
    def found(self, one: Detections) -> Detections:
        height, width = one.size  # the network's input has 64x64 px
        scale = torch.tensor([64 / width, 64 / height]).repeat(2)
        return dataclasses.replace(one, boxes=one.boxes * scale)


class WidthBeforeHeight(Right):
    def found(self, one: Detections) -> Detections:
        return dataclasses.replace(one, size=one.size[::-1])


class WorstFirst(Right):
    def found(self, one: Detections) -> Detections:
        return dataclasses.replace(one, boxes=one.boxes.flip(0), scores=one.scores.flip(0), labels=one.labels.flip(0))


class ScoresInPercent(Right):
    def found(self, one: Detections) -> Detections:
        return dataclasses.replace(one, scores=one.scores * 100)


class LabelsAreNumbersWithPoints(Right):
    def found(self, one: Detections) -> Detections:
        return dataclasses.replace(one, labels=one.labels.float())


class Draws(Right):
    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        found = super().detect(batch, settings)
        return dataclasses.replace(found, scores=found.scores * (1 - 0.1 * torch.rand(())))


class LooksAtTheBatch(Right):
    def detect(self, batch: ImageBatch, settings: DetectionSettings | None = None) -> DetectionBatch:
        found = super().detect(batch, settings)
        return dataclasses.replace(found, scores=found.scores / len(batch.pixels))


class OneScoreTooFew(Right):
    def found(self, one: Detections) -> Detections:
        return dataclasses.replace(one, scores=one.scores[:-1])


class LoadsWrongly(Right):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({k: v * 0.5 for k, v in state_dict.items()}, strict, assign)


class BuildsAnotherLayerEachTime(Right):
    made = 0

    def add_parts(self) -> None:
        BuildsAnotherLayerEachTime.made += 1
        self.register_buffer(f"table_{self.made}", torch.zeros(1))
