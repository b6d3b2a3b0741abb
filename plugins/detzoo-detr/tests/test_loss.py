"""The set loss: the empty case, numbers by hand, torch's weighted cross-entropy, auxiliary layers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import L1, CrossEntropy, Focal, Giou
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_detr.box_coder import Fractions
from detzoo_detr.loss import SetLoss

B = BACKGROUND
IMAGE = torch.tensor([0.0, 0, 100, 50], dtype=torch.float64)
QUERIES = Candidates(IMAGE.expand(1, 3, 4), torch.ones(1, 3, dtype=torch.bool), coder=Fractions())
MIDDLE = [0.5, 0.5, 0.2, 0.4]  # (40, 15, 60, 35)


def loss(**changes: Any) -> SetLoss:
    parts: dict[str, Any] = {
        "classification": CrossEntropy(), "distance": L1(), "overlap": Giou(), "normaliser": Positives(),
    }  # fmt: skip
    return SetLoss(**{**parts, **changes})


def targets(boxes: list[list[float]], labels: list[int]) -> Targets:
    count = len(boxes)
    return Targets(
        torch.tensor(boxes, dtype=torch.float64).reshape(1, count, 4),
        torch.tensor(labels, dtype=torch.int64).reshape(1, count),
        torch.zeros(1, count, dtype=torch.bool),
        torch.ones(1, count, dtype=torch.bool),
        IMAGE[None],
    )


def said(columns: int = 3) -> Predictions:
    logits = torch.zeros(1, 3, columns, dtype=torch.float64, requires_grad=True)
    deltas = torch.tensor([[MIDDLE] * 3], dtype=torch.float64)[:, :, None].clone().requires_grad_()
    return Predictions(logits, "softmax" if columns == 3 else "sigmoid", deltas)


def test_without_objects_boxes_are_zeros_of_the_graph() -> None:
    predictions = said()
    terms = loss()(predictions, QUERIES, targets([], []), Assignment(torch.full((1, 3), B)))
    assert terms["distance"].item() == terms["overlap"].item() == 0
    assert terms["classification"].item() == pytest.approx(math.log(3))  # a mean: the weight of background cancels
    torch.autograd.backward(list(terms.values()))
    assert predictions.deltas.grad is not None
    assert not predictions.deltas.grad.any()


def test_three_terms_by_hand() -> None:
    """Query 1 answers for an object 10 px to its right: an L1 of 0.1, an IoU of 1/3 whose hull is the union."""
    terms = loss()(said(), QUERIES, targets([[50.0, 15, 70, 35]], [1]), Assignment(torch.tensor([[B, 0, B]])))
    assert terms["classification"].item() == pytest.approx(math.log(3))  # (1 + 0.1 + 0.1) log 3 / 1.2
    assert terms["distance"].item() == pytest.approx(5 * 0.1)
    assert terms["overlap"].item() == pytest.approx(2 * (1 - 1 / 3))


def test_classes_are_torch_s_weighted_cross_entropy() -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 4, generator=source, dtype=torch.float64)
    predictions = Predictions(logits, "softmax", said().deltas)
    boxes = [[40.0, 15, 60, 35], [0.0, 0, 10, 10]]
    terms = loss(no_object_weight=0.3)(
        predictions, QUERIES, targets(boxes, [2, 0]), Assignment(torch.tensor([[1, B, 0]]))
    )
    expected = F.cross_entropy(
        logits[0], torch.tensor([1, 0, 3]), weight=torch.tensor([0.3, 1, 1, 1], dtype=torch.float64)
    )
    assert terms["classification"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_ignored_queries_cost_nothing_and_count_nothing() -> None:
    truth = targets([[40.0, 15, 60, 35]], [0])
    all_of_them = loss()(said(), QUERIES, truth, Assignment(torch.tensor([[0, B, B]])))
    fewer = loss()(said(), QUERIES, truth, Assignment(torch.tensor([[0, IGNORE, IGNORE]])))
    assert all_of_them["classification"].item() == pytest.approx(fewer["classification"].item())
    predictions = said()
    term = loss()(predictions, QUERIES, truth, Assignment(torch.tensor([[0, IGNORE, B]])))["classification"]
    torch.autograd.backward(term)
    assert predictions.class_logits is not None
    assert predictions.class_logits.grad is not None
    assert predictions.class_logits.grad[0].abs().sum(1).gt(0).tolist() == [True, False, True]


def test_focal_loss_over_the_objects() -> None:
    terms = loss(classification=Focal(), class_divisor="objects", no_object_weight=1.0, class_weight=2.0)(
        said(columns=2),
        QUERIES,
        targets([[40.0, 15, 60, 35], [50.0, 15, 70, 35]], [0, 1]),
        Assignment(torch.tensor([[0, 1, B]])),
    )
    right, wrong = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    assert terms["classification"].item() == pytest.approx(2 * (2 * right + 4 * wrong) / 2)
    assert terms["distance"].item() == pytest.approx(5 * 0.1 / 2)


def test_factors_are_factors() -> None:
    truth, given = targets([[50.0, 15, 70, 35]], [1]), Assignment(torch.tensor([[B, 0, B]]))
    once = loss(class_weight=1.0, distance_weight=1.0, overlap_weight=1.0)(said(), QUERIES, truth, given)
    weighed = loss(class_weight=2.0, distance_weight=3.0, overlap_weight=5.0)(said(), QUERIES, truth, given)
    for name, factor in (("classification", 2), ("distance", 3), ("overlap", 5)):
        assert weighed[name].item() == pytest.approx(factor * once[name].item())
