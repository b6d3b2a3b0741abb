"""Checks of cells, odd sizes, exports and what a wheel requires: each finds its fault, and none without one."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.components.box_coders import CentreSize
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import BinaryCrossEntropy, SmoothL1
from detzoo.interfaces import DenseHead, Feature, Loss, Matcher, Neck
from detzoo.testing import manifest as manifest_checks
from detzoo.testing.backbone import check_declared_maps
from detzoo.testing.cells import (
    check_loss_knows_candidates_of_a_cell_apart,
    check_matcher_knows_candidates_of_a_cell_apart,
)
from detzoo.testing.exporting import (
    check_head_leaves_the_number_of_images_free,
    check_neck_leaves_the_number_of_images_free,
)
from detzoo.testing.loss import check_padding_changes_nothing, hand_assignment, places_of
from detzoo.testing.manifest import check_wheel_requires_what_recipes_use
from detzoo.testing.odd_sizes import check_head_on_maps_of_odd_sizes, check_maps_of_odd_sizes
from detzoo.testing.specimens import FEATURES, targets
from detzoo.testing.subject import Subject
from detzoo.types import (
    Assignment,
    Candidates,
    FeatureMaps,
    FeatureSpec,
    FeatureSpecs,
    ImageBatch,
    Level,
    Predictions,
    Targets,
)


def subject(component: Any) -> Subject:
    return Subject(component, lambda _: component)


def multibox() -> MultiBox:
    return MultiBox(classification=BinaryCrossEntropy(), box=SmoothL1(), normaliser=Positives())


class Halves(Neck):
    """Adds a map of half the size, rounded up; declares what it is told."""

    def __init__(self, declared: tuple[int, int]) -> None:
        super().__init__()
        self.out = {"s32": FeatureSpec(8, 32.0, (3, 3)), "s64": FeatureSpec(8, 64.0, declared)}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        return {"s32": features["s32"], "s64": nn.functional.max_pool2d(features["s32"], 1, stride=2)}


@pytest.mark.parametrize(("declared", "found"), [((2, 2), True), ((1, 1), False)])
def test_the_declared_size_of_a_neck_s_map(declared: tuple[int, int], found: bool) -> None:
    features = {"s32": FeatureSpec(8, 32.0, (3, 3))}
    seen = Subject(Halves(declared), lambda _: Halves(declared), features, sizes=((96, 96),))
    if found:
        check_declared_maps(seen)
    else:
        with pytest.raises(AssertionError, match=r"s64 has \(2, 2\) cells, out declares size \(1, 1\)"):
            check_declared_maps(seen)


class ReadsOverlap(Loss):
    """A correct loss: classes weighed by how much each candidate overlaps its ground truth."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = multibox()

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        terms = self.inner(predictions, candidates, targets, assignment)
        assert assignment.overlap is not None
        assert predictions.class_logits is not None
        scale = (assignment.overlap * assignment.positive).sum()
        return terms | {"overlap": scale * predictions.class_logits.square().mean()}


class TakesNumberForCell(Loss):
    """Weighs what a candidate says by the row of the cell that its number would be with one candidate per cell."""

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        assert predictions.class_logits is not None
        row = torch.arange(predictions.deltas.shape[1]) // candidates.levels[0].width
        return {"classification": (predictions.class_logits.square().sum(2) * row * (1 + row)).mean()
                + (predictions.class_logits.square().sum(2)[:, ::2]).mean()}  # fmt: skip


class DeclaresOnePerCell(TakesNumberForCell):
    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_PER_CELL})


class MatchesEverySecond(Matcher):
    """Positive are candidates of an even number within the boxes: with two per cell only the first of each."""

    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        found = MaxIou(positive_threshold=0.3, negative_threshold=0.3, low_quality="never")(candidates, targets)
        even = torch.arange(found.index.shape[1]) % 2 == 0
        return Assignment(torch.where(even | (found.index < 0), found.index, -1))


class Doubles(Neck):
    """Doubles the coarse map, which fits no map of an odd number of cells."""

    def __init__(self, features: FeatureSpecs) -> None:
        super().__init__()
        self.fine, self.coarse = list(features)[-2:]
        self.out = {self.fine: FeatureSpec(features[self.fine].channels, features[self.fine].stride)}
        self.join = nn.Conv2d(features[self.coarse].channels, features[self.fine].channels, 1)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        coarse = nn.functional.interpolate(self.join(features[self.coarse]), scale_factor=2.0)
        return {self.fine: features[self.fine] + coarse}


class Fits(Doubles):
    def forward(self, features: FeatureMaps) -> FeatureMaps:
        fine = features[self.fine]
        return {self.fine: fine + nn.functional.interpolate(self.join(features[self.coarse]), size=fine.shape[-2:])}


class LooksAtValues(Fits):
    def forward(self, features: FeatureMaps) -> FeatureMaps:
        return super().forward(features) if float(features[self.fine].sum()) < 1e9 else {}


class Squares(DenseHead):
    """One candidate in each cell of the last map."""

    gives = frozenset({Feature.CLASS_LOGITS, Feature.SIGMOID_SCORES, Feature.ONE_BOX, Feature.LEVELS})

    def __init__(self, features: FeatureSpecs) -> None:
        super().__init__()
        self.name, spec = list(features.items())[-1]
        self.coder, self.stride = CentreSize(), spec.stride
        self.convolution = nn.Conv2d(spec.channels, 7, 1)

    def images(self, said: Tensor) -> int:
        return said.shape[0]

    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        said = self.convolution(features[self.name])
        height, width = said.shape[-2:]
        rows = said.flatten(2).transpose(1, 2).reshape(self.images(said), -1, 7)
        boxes = torch.zeros(1, height * width, 4) + torch.tensor([0.0, 0.0, 32.0, 32.0])
        levels = (Level(self.name, height, width, 1, self.stride),)
        valid = torch.ones(1, height * width, dtype=torch.bool)
        return Candidates(boxes, valid, levels, self.coder), Predictions(rows[..., :3], "sigmoid", rows[..., None, 3:])


class CountsWithLen(Squares):
    def images(self, said: Tensor) -> int:
        return len(said)


class MadeForOneSize(Squares):
    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        places, said = super().forward(features, batch, targets)
        return places, Predictions(said.class_logits, "sigmoid", said.deltas[:, :12])


def test_a_loss_that_reads_overlap_is_right_whatever_the_padding() -> None:
    check_padding_changes_nothing(subject(ReadsOverlap()))
    places, truth = places_of(subject(ReadsOverlap())), targets(("mixed boxes",))
    one, two = (hand_assignment(places, truth).overlap for _ in range(2))
    assert one is not None
    assert two is not None
    assert torch.equal(one, two)


@pytest.mark.parametrize("component", [multibox(), ReadsOverlap(), DeclaresOnePerCell()])
def test_losses_that_know_candidates_of_a_cell_apart_or_want_one(component: Loss) -> None:
    check_loss_knows_candidates_of_a_cell_apart(subject(component))


def test_a_loss_that_takes_a_number_for_a_cell() -> None:
    with pytest.raises(AssertionError, match=r"takes a candidate's number for its cell.*ONE_PER_CELL"):
        check_loss_knows_candidates_of_a_cell_apart(subject(TakesNumberForCell()))


def test_matchers_and_cells() -> None:
    check_matcher_knows_candidates_of_a_cell_apart(subject(MaxIou()))
    with pytest.raises(AssertionError, match=r"takes a candidate's number for its cell.*ONE_PER_CELL"):
        check_matcher_knows_candidates_of_a_cell_apart(subject(MatchesEverySecond()))


def test_necks_on_38_19_and_10_cells() -> None:
    check_maps_of_odd_sizes(subject(Fits(FEATURES)))
    with pytest.raises(RuntimeError, match="must match the size"):
        check_maps_of_odd_sizes(subject(Doubles(FEATURES)))


def test_heads_on_odd_maps() -> None:
    check_head_on_maps_of_odd_sizes(subject(Squares(FEATURES)))
    with pytest.raises(AssertionError, match=r"100 candidates and 12 boxes"):
        check_head_on_maps_of_odd_sizes(subject(MadeForOneSize(FEATURES)))


def test_parts_that_can_be_exported() -> None:
    check_neck_leaves_the_number_of_images_free(subject(Fits(FEATURES)))
    check_head_leaves_the_number_of_images_free(subject(Squares(FEATURES)))


def test_parts_that_cannot() -> None:
    with pytest.raises(AssertionError, match=r"tensor\.shape\[0\], not with len"):
        check_head_leaves_the_number_of_images_free(subject(CountsWithLen(FEATURES)))
    with pytest.raises(AssertionError, match=r"^torch\.export cannot record it"):
        check_neck_leaves_the_number_of_images_free(subject(LooksAtValues(FEATURES)))


def test_a_wheel_requires_whose_recipes_it_extends(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("detzoo_ssd")
    pytest.importorskip("detzoo_yolo")
    check_wheel_requires_what_recipes_use("yolo")
    monkeypatch.setattr(manifest_checks, "_used", lambda _: [("borrowed", "ssd"), ("another", "ssd")])
    with pytest.raises(AssertionError, match=r"detzoo-yolo does not require detzoo-ssd \(used by borrowed\)"):
        check_wheel_requires_what_recipes_use("yolo")
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["detzoo", "Detzoo_SSD>=0.1; python_version>'3'"])
    check_wheel_requires_what_recipes_use("yolo")
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["detzoo-ssd; extra == 'dev'"])
    with pytest.raises(AssertionError, match="does not require detzoo-ssd"):
        check_wheel_requires_what_recipes_use("yolo")
