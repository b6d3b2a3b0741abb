"""Faulty components, one fault each: the conformance kit finds each by the check that is meant for it.

All checks of the component's kind run on it. The first name of a row is the check that must fail; those behind it fail
unavoidably with it. No other check may fail.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.components.box_coders import CentreSize
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.normalisers import Positives
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.samplers import RandomFraction
from detzoo.components.suppress import Nms
from detzoo.components.terms import BinaryCrossEntropy, SmoothL1
from detzoo.interfaces import Backbone, Head
from detzoo.registry import Registry
from detzoo.testing import manifest as manifest_checks
from detzoo.testing.kit import KIND_CHECKS, PLUGIN_CHECKS
from detzoo.testing.specimens import FEATURES, NUM_CLASSES, SMALL
from detzoo.testing.subject import Subject
from detzoo.types import (
    Assignment,
    Candidates,
    DetectionBatch,
    FeatureMaps,
    FeatureSpec,
    ImageBatch,
    Level,
    Predictions,
    Scoring,
    Targets,
)


def failing(kind: str, make: Callable[[], Any]) -> list[str]:
    """Names of the checks of a kind that a component fails, by assertion or by crashing."""
    found = []
    for spec in KIND_CHECKS[kind]:
        file, _, name = spec.partition(":")
        check = getattr(importlib.import_module(f"detzoo.testing.{file}"), f"check_{name}")

        def seeded(seed: int) -> Any:
            torch.manual_seed(seed)
            return make()

        try:
            check(Subject(component=seeded(0), rebuild=seeded, sizes=SMALL))
        except Exception:
            found.append(name)
    return found


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


class Squares(Head):
    """A square of two strides in every cell of every map; one 1x1 convolution a map."""

    scoring: Scoring = "sigmoid"
    xywh = False

    def __init__(self) -> None:
        super().__init__()
        self.coder = CentreSize()
        self.convs = nn.ModuleDict({name: nn.Conv2d(s.channels, NUM_CLASSES + 4, 1) for name, s in FEATURES.items()})

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates | None = None
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


class Post(PerClassDetections):
    def __init__(self) -> None:
        super().__init__(suppress=Nms(), keep=50)

    def forward(self, predictions: Predictions, candidates: Candidates, batch: ImageBatch) -> DetectionBatch:
        return self.changed(super().forward(predictions, candidates, batch))

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


class BeyondThePicture(Post):
    def changed(self, found: DetectionBatch) -> DetectionBatch:
        return dataclasses.replace(found, boxes=found.boxes + 40)


class KeepsTooMany(Post):
    def forward(self, predictions: Predictions, candidates: Candidates, batch: ImageBatch) -> DetectionBatch:
        kept, self.keep = self.keep, 50
        found = super().forward(predictions, candidates, batch)
        self.keep = kept
        return found


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


RIGHT: list[tuple[str, Callable[[], Any]]] = [
    ("backbone", Net),
    ("head", Squares),
    ("matcher", lambda: MaxIou(low_quality="always")),
    ("loss", Loss),
    ("postprocess", Post),
    ("box_coder", CentreSize),
    ("sampler", lambda: RandomFraction(size=64, positive_fraction=0.25)),
]
FAULTS: list[tuple[str, Callable[[], Any], list[str]]] = [
    ("backbone", WrongStride, ["declared_maps"]),
    ("backbone", WrongChannels, ["declared_maps"]),
    # the second call gets what the first has halved
    ("backbone", InPlace, ["input_is_not_changed", "same_input_same_output", "batch_equals_singles"]),
    ("backbone", LooksAtTheBatch, ["batch_equals_singles"]),
    # two answers that are drawn differ from each other, whatever is beside them
    ("backbone", DropsInEvaluation, ["same_input_same_output", "batch_equals_singles"]),
    ("backbone", IdleParameter, ["gradient_reaches_every_parameter"]),
    ("backbone", Unregistered, ["moves_between_dtypes"]),
    ("backbone", LoadsWrongly, ["state_dict_round_trip"]),
    ("backbone", SeedsFromTheClock, ["same_seed_same_weights"]),
    ("head", CornersAndSides, ["outputs"]),
    ("head", OneClassShort, ["outputs"]),
    ("head", HidesBoxes, ["gradient_reaches_every_parameter"]),
    ("matcher", lambda: UsesIgnored(low_quality="always"), ["ignored_ground_truth_is_never_positive"]),
    ("matcher", lambda: DependsOnPadding(low_quality="always"), ["padding_changes_nothing"]),
    ("matcher", lambda: NeedsABox(low_quality="always"), ["takes_the_empty_case"]),
    ("matcher", lambda: ForgetsInvalid(low_quality="always"), ["invalid_candidates_are_ignored"]),
    ("matcher", lambda: WritesTargets(low_quality="always"), ["input_is_not_changed"]),
    ("loss", NotANumberWhenEmpty, ["every_ground_truth_gives_finite_terms"]),
    ("loss", DetachedZero, ["without_candidates_terms_are_connected_zeros"]),
    ("loss", IgnoresItsNormaliser, ["normaliser_divides_the_terms"]),
    ("loss", CountsPadding, ["padding_changes_nothing"]),
    ("postprocess", LabelsFromOne, ["outputs"]),
    ("postprocess", GivesXywh, ["outputs"]),
    # NaN equals nothing, so nothing that is compared is equal
    ("postprocess", NanScores, ["outputs", "same_input_same_output", "batch_equals_singles"]),
    ("postprocess", WorstFirst, ["outputs"]),
    ("postprocess", BeyondThePicture, ["outputs"]),
    ("postprocess", KeepsTooMany, ["keeps_to_its_limit"]),
    ("postprocess", DrawsScores, ["same_input_same_output", "batch_equals_singles"]),
    ("box_coder", DecodesHalf, ["decode_inverts_encode"]),
    ("sampler", AddsPositives, ["sampler_only_ignores"]),
]


@pytest.mark.parametrize(("kind", "make"), RIGHT, ids=lambda value: value if isinstance(value, str) else "")
def test_without_the_fault_every_check_passes(kind: str, make: Callable[[], Any]) -> None:
    assert failing(kind, make) == []


@pytest.mark.parametrize(("kind", "make", "expected"), FAULTS)
def test_a_fault_is_found_by_the_check_meant_for_it(kind: str, make: Callable[[], Any], expected: list[str]) -> None:
    assert sorted(failing(kind, make)) == sorted(expected)


def test_there_are_at_least_25_faults() -> None:
    assert len(FAULTS) >= 25


def failing_plugin(plugin: str) -> list[str]:
    """Names of the checks of a plugin as a whole that it fails."""
    found = []
    for spec in PLUGIN_CHECKS:
        name = spec.partition(":")[2]
        try:
            getattr(manifest_checks, f"check_{name}")(plugin)
        except Exception:
            found.append(name)
    return found


IMPORTS = {
    "import pycocotools.mask": "import_is_light",
    "import random; random.random()": "import_draws_no_random_number",
    "import random; random.seed(0)": "import_draws_no_random_number",
    "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)": "import_opens_no_connection",
    "import urllib.request; urllib.request.urlopen('http://example.org', timeout=1)": "import_opens_no_connection",
    # a plugin that hides the failure has still asked
    "import socket\ntry: socket.create_connection(('192.0.2.1', 9))\nexcept OSError: 0": "import_opens_no_connection",
}


@pytest.mark.parametrize("code", IMPORTS)
def test_faults_of_an_import(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_registry: Registry
) -> None:
    (tmp_path / "faulty_plugin.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    record = toy_registry.plugins.records["toy"]
    assert [name for name in failing_plugin("toy") if name.startswith("import_")] == []
    record.module = "faulty_plugin"
    manifest_checks._imported.cache_clear()
    found = [name for name in failing_plugin("toy") if name.startswith("import_")]
    manifest_checks._imported.cache_clear()
    assert found == [IMPORTS[code]]


def test_faults_of_a_manifest(toy_registry: Registry) -> None:
    assert failing_plugin("toy") == []
    record = toy_registry.plugins.records["toy"]
    right = record.manifest
    assert right is not None
    old = right.generated.replace('"le": 8192', '"le": 4096')
    assert old != right.generated
    record.manifest = dataclasses.replace(right, generated=old)
    assert failing_plugin("toy") == ["schemas_are_synced"]
    record.manifest = dataclasses.replace(right, hooks=())
    assert failing_plugin("toy") == ["hooks_are_implemented"]
