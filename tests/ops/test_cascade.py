"""Between the stages of a cascade: hand-checkable boxes and scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detzoo.components.box_coders import CentreSize
from detzoo.ops.cascade import averaged, refined, without_ground_truth
from detzoo.ops.scores import scores_of
from detzoo.types import Assignment, Candidates, Predictions, Scoring, Targets

REGION = torch.tensor([[0.0, 0.0, 100.0, 80.0]])


def rois(*boxes: tuple[float, float, float, float], coder: CentreSize | None = None) -> Candidates:
    return Candidates(torch.tensor(boxes).view(1, -1, 4), torch.ones(1, len(boxes), dtype=torch.bool), coder=coder)


def said(logits: list[list[float]], deltas: Tensor, scoring: Scoring = "softmax") -> Predictions:
    return Predictions(torch.tensor([logits]), scoring, deltas)


def test_no_regions() -> None:
    none = Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), coder=CentreSize())
    predictions = Predictions(torch.zeros(2, 0, 3), "softmax", torch.zeros(2, 0, 2, 4))
    found = refined(none, predictions, REGION.expand(2, 4))
    assert found.boxes.shape == (2, 0, 4)
    assert averaged([predictions, predictions]).class_logits is not None


def test_boxes_are_decoded_clipped_and_cut_from_the_graph() -> None:
    coder = CentreSize(weights=(10.0, 10.0, 5.0, 5.0))
    # 20 px wide, moved by 5 / 10 of a width: 10 px; twice as high: log(2) * 5
    deltas = torch.tensor([[[[5.0, 0.0, 0.0, math.log(2) * 5]], [[100.0, 0.0, 0.0, 0.0]]]]).requires_grad_()
    predictions = said([[0.0, 1.0]] * 2, deltas)

    found = refined(rois((70, 20, 90, 40), (80, 20, 90, 40), coder=coder), predictions, REGION)

    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([80.0, 10.0, 100.0, 50.0]))
    assert found.boxes[0, 1].tolist() == [100.0, 20.0, 100.0, 40.0]  # it has left the image
    assert found.valid.tolist() == [[True, False]]
    assert not found.boxes.requires_grad
    assert found.coder is None


def test_of_one_box_per_class_the_best_class_decides() -> None:
    deltas = torch.zeros(1, 1, 2, 4)
    deltas[0, 0, 1, 0] = 0.5  # class 1 moves by half a width of 20 px; background is column 0 and has no box
    found = refined(
        rois((20, 20, 40, 40), coder=CentreSize(weights=(1.0, 1.0, 1.0, 1.0))), said([[9.0, 1.0, 2.0]], deltas), REGION
    )
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([30.0, 20.0, 50.0, 40.0]))


def test_what_was_ground_truth_leaves() -> None:
    own = rois((10, 10, 30, 30), (12, 10, 32, 30), (10, 10, 30, 30))
    valid = torch.ones(1, 1, dtype=torch.bool)
    targets = Targets(own.boxes[:, :1], torch.zeros(1, 1, dtype=torch.long), ~valid, valid, REGION)
    assignment = Assignment(torch.tensor([[0, 0, -1]]))
    found = without_ground_truth(rois((0, 0, 5, 5), (1, 1, 5, 5), (2, 2, 5, 5)), own, targets, assignment)
    assert found.valid.tolist() == [[False, True, True]]  # the second is not equal, the third was no positive
    nothing = Targets(targets.boxes[:, :0], targets.labels[:, :0], targets.ignore[:, :0], targets.valid[:, :0], REGION)
    free = Assignment(torch.full((1, 3), -1))
    assert without_ground_truth(own, own, nothing, free).valid.all()


@pytest.mark.parametrize("scoring", ["softmax", "categorical", "sigmoid", "linear"])
def test_scores_are_averaged_and_boxes_are_the_last_stage_s(scoring: Scoring) -> None:
    first = said([[0.1, 0.9, 0.4]], torch.zeros(1, 1, 1, 4), scoring)
    last = said([[0.7, 0.3, 0.2]], torch.ones(1, 1, 1, 4), scoring)
    found = averaged([first, last])
    torch.testing.assert_close(scores_of(found), (scores_of(first) + scores_of(last)) / 2)
    assert found.deltas is last.deltas


def test_certain_scores_stay_finite() -> None:
    certain = said([[200.0, -200.0]], torch.zeros(1, 1, 1, 4), "sigmoid")
    found = averaged([certain, certain])
    assert scores_of(found).flatten().tolist() == pytest.approx([1.0, 0.0], abs=1e-30)


def test_one_stage_is_left_as_it_is() -> None:
    only = said([[0.1, 0.9]], torch.zeros(1, 1, 1, 4))
    assert averaged([only]) is only
