"""LW-DETR's class loss and the mean over groups, against plain loops; matching group by group, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.components.unreduced_losses import L1, Giou
from detzoo.errors import RecipeError
from detzoo.testing import targets
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions
from detzoo_detr.box_coder import Fractions
from detzoo_detr.group_loss import GroupSetLoss, IouAwareBce
from detzoo_detr.matcher import Hungarian, solve


def by_loops(logits: list[list[float]], labels: list[int], quality: list[float]) -> list[float]:
    """Of each row: t = max(p^.25 q^.75, .01) in its class, and p^2 of the negatives."""
    rows = []
    for row, label, iou in zip(logits, labels, quality, strict=True):
        total = 0.0
        for column, logit in enumerate(row):
            score = 1 / (1 + math.exp(-logit))
            if column == label:
                target = max(score**0.25 * iou**0.75, 0.01)
                total -= target * math.log(score) + (1 - target) * math.log(1 - score)
            else:
                total -= score**2 * math.log(1 - score)
        rows.append(total)
    return rows


LOGITS = [[0.5, -1.0, 2.0], [-3.0, 0.0, 1.0], [1.5, -0.5, -2.0], [-4.0, -4.0, 3.0]]
LABELS = [2, BACKGROUND, 0, 1]
QUALITY = [0.8, 0.0, 0.3, 0.0]


def test_class_loss_as_the_plain_loops() -> None:
    """The last row overlaps nothing, and learns from the least target."""
    logits = torch.tensor([LOGITS], dtype=torch.float64)
    found = IouAwareBce()(logits, torch.tensor([LABELS]), torch.tensor([QUALITY], dtype=torch.float64))
    assert found[0].tolist() == pytest.approx(by_loops(LOGITS, LABELS, QUALITY), rel=1e-12)
    alone = IouAwareBce()(logits, torch.tensor([LABELS]))
    assert alone[0].tolist() == pytest.approx(by_loops(LOGITS, LABELS, [1.0] * 4), rel=1e-12)


def test_the_target_has_no_gradient_and_the_factor_of_negatives_has_one() -> None:
    logits = torch.tensor([LOGITS], dtype=torch.float64, requires_grad=True)
    IouAwareBce()(logits, torch.tensor([LABELS]), torch.tensor([QUALITY], dtype=torch.float64)).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    score = 1 / (1 + math.exp(-2.0))
    target = score**0.25 * 0.8**0.75
    assert float(logits.grad[0, 0, 2]) == pytest.approx(score - target, rel=1e-12)  # of a cross-entropy
    score = 0.5  # d/dx -p^2 log(1 - p) = p (1 - p) (-2 p log(1 - p) + p^2 / (1 - p))
    slope = score * (1 - score) * (-2 * score * math.log(1 - score) + score**2 / (1 - score))
    assert float(logits.grad[0, 1, 1]) == pytest.approx(slope, rel=1e-12)


def test_extreme_logits_are_finite() -> None:
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0]]], requires_grad=True)
    loss = IouAwareBce()(logits, torch.tensor([[1, 1]]), torch.tensor([[0.5, 0.5]])).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert bool(loss.isfinite())
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def scene(index: list[int]) -> tuple[Predictions, Candidates, Assignment]:
    """Candidates that are the image of 100 px, and boxes of 20, 40, ... px at its middle."""
    count = len(index)
    sides = 0.2 * torch.arange(1, count + 1, dtype=torch.float64)
    deltas = torch.stack([torch.full_like(sides, 0.5)] * 2 + [sides] * 2, dim=1)[None]
    logits = torch.tensor([LOGITS[:count]], dtype=torch.float64)
    places = Candidates(
        torch.tensor([0.0, 0.0, 100.0, 100.0]).expand(1, count, 4),
        torch.ones(1, count, dtype=torch.bool),
        coder=Fractions(),
    )
    return Predictions(logits, "sigmoid", deltas.unsqueeze(2)), places, Assignment(torch.tensor([index]))


def loss(groups: int) -> GroupSetLoss:
    return GroupSetLoss(classification=IouAwareBce(), distance=L1(), overlap=Giou(), groups=groups)


TRUTH = targets([[(30.0, 30.0, 70.0, 70.0), (0.0, 0.0, 50.0, 50.0)]], [[2, 0]], size=(100, 100))


def test_terms_by_hand() -> None:
    """A box of 20 px in an object of 40 has IoU .25; two objects in three groups are six."""
    said, places, assigned = scene([0, BACKGROUND, IGNORE])
    terms = loss(3)(said, places, TRUTH, assigned)
    classes = by_loops(LOGITS[:2], [2, BACKGROUND], [0.25, 0.0])
    assert float(terms["classification"]) == pytest.approx(sum(classes) / 6, rel=1e-6)
    assert float(terms["distance"]) == pytest.approx(5 * (0.2 + 0.2) / 6, rel=1e-6)
    assert float(terms["overlap"]) == pytest.approx(2 * (1 - 0.25) / 6, rel=1e-6)


def test_target_one_and_weights() -> None:
    said, places, assigned = scene([0, BACKGROUND])
    plain = GroupSetLoss(
        classification=IouAwareBce(), distance=L1(), overlap=Giou(), groups=1, target="one", class_weight=2.0
    )
    terms = plain(said, places, TRUTH, assigned)
    classes = by_loops(LOGITS[:2], [2, BACKGROUND], [1.0, 0.0])
    assert float(terms["classification"]) == pytest.approx(2 * sum(classes) / 2, rel=1e-6)


def test_without_objects_the_divisor_is_one() -> None:
    said, places, assigned = scene([BACKGROUND, BACKGROUND])
    terms = loss(13)(said, places, targets([[]], size=(100, 100)), assigned)
    expected = sum(by_loops(LOGITS[:2], [BACKGROUND] * 2, [0.0] * 2))
    assert float(terms["classification"]) == pytest.approx(expected, rel=1e-6)
    assert float(terms["distance"]) == float(terms["overlap"]) == 0


def test_ignored_ground_truth_is_no_object() -> None:
    said, places, assigned = scene([0, BACKGROUND])
    crowd = targets(
        [[(30.0, 30.0, 70.0, 70.0), (0.0, 0.0, 50.0, 50.0)]], [[2, 0]], ignore=[[False, True]], size=(100, 100)
    )
    one, two = (loss(1)(said, places, truth, assigned)["distance"] for truth in (crowd, TRUTH))
    assert float(one) == pytest.approx(2 * float(two))


def test_groups_are_matched_each_by_itself() -> None:
    """Four candidates, two objects: in each group of two both objects are taken, though the first group is dear."""
    cost = torch.tensor([[[9.0, 5.0], [8.0, 1.0], [0.0, 3.0], [0.5, 0.0]]])
    valid, wanted = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    assert solve(cost, valid, wanted, groups=2).tolist() == [[0, 1, 0, 1]]
    assert solve(cost, valid, wanted).tolist() == [[BACKGROUND, BACKGROUND, 0, 1]]
    valid[0, :2] = False  # a group that takes no part
    assert solve(cost, valid, wanted, groups=2).tolist() == [[BACKGROUND, BACKGROUND, 0, 1]]
    assert solve(cost[..., :0], valid, wanted[:, :0], groups=2).tolist() == [[BACKGROUND] * 4]


def test_groups_must_divide_the_candidates() -> None:
    said, places, _ = scene([0, 0, 0])
    with pytest.raises(RecipeError, match=r"groups is 2.*3 candidates"):
        Hungarian(groups=2)(places, TRUTH, said)
