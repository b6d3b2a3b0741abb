"""D-FINE's loss by plain loops, and the union of what layers have matched."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from detzoo.builder import build
from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import Varifocal
from detzoo.errors import RecipeError
from detzoo.testing.by_hand import image_batch, targets
from detzoo.types import BACKGROUND, IGNORE, Assignment, Auxiliary, Candidates, Predictions
from detzoo_detr.dfine_loss import (
    TEACHER,
    DfineLoss,
    MatchabilityAware,
    divergence,
    fine_grained_losses,
    joined_means,
)
from detzoo_detr.fine_grained import FineGrained
from detzoo_detr.union_matching import OneStageUnion, unite

SOURCE = torch.Generator().manual_seed(0)
CODER = FineGrained(last=6, up=1.0, reg_scale=3.0)  # bins at -6, -3, -1, 0, 1, 3, 6


def loss() -> DfineLoss:
    return DfineLoss(classification=Varifocal(positives="label", weight_gradient=False), normaliser=Positives())


def candidates(boxes: list[tuple[float, float, float, float]]) -> Candidates:
    places = torch.tensor([boxes]).reshape(1, -1, 4)
    return Candidates(places, torch.ones(places.shape[:2], dtype=torch.bool), coder=CODER)


def predictions(count: int, teacher: Predictions | None = None) -> Predictions:
    logits = torch.randn(1, count, 3, generator=SOURCE).requires_grad_()
    distribution = torch.randn(1, count, 4, 7, generator=SOURCE).requires_grad_()
    aux = () if teacher is None else (Auxiliary(TEACHER, teacher),)
    deltas = (distribution.softmax(-1) @ CODER.bins).unsqueeze(2)
    return Predictions(logits, "sigmoid", deltas, distribution=distribution, aux=aux)


def test_without_ground_truth_boxes_cost_nothing() -> None:
    said, places = predictions(4, predictions(4)), candidates([(10.0, 10.0, 40.0, 40.0)] * 4)
    terms = loss()(said, places, targets([[]]), Assignment(torch.full((1, 4), BACKGROUND)))
    assert {name for name, term in terms.items() if term.item() == 0} == {"distance", "overlap", "fine"}
    assert terms["classification"] > 0
    assert terms["distillation"] > 0  # unmatched queries learn from the teacher too
    assert all(term.requires_grad for term in terms.values())


def test_fine_by_hand() -> None:
    """Candidate 30 x 30 px, unit 10 px: edges 20 px and 5 px out, 0 and 45 px in, so 2, 0.5, 0 and -4.5 units."""
    places = candidates([(100.0, 100.0, 130.0, 130.0)])
    truth = torch.tensor([[[80.0, 95.0, 130.0, 85.0]]])
    distribution = torch.randn(1, 1, 4, 7, generator=SOURCE)
    logs = torch.log_softmax(distribution, -1)[0, 0].tolist()
    # bins number 4 and 5 are at 1 and 3, 3 and 4 at 0 and 1, 0 and 1 at -6 and -3
    expected = (
        -(logs[0][4] + logs[0][5]) / 2 - (logs[1][3] + logs[1][4]) / 2 - logs[2][3] - (logs[3][0] + logs[3][1]) / 2
    )
    found = fine_grained_losses(distribution, places, truth, torch.ones(1))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_divergence_by_plain_loops() -> None:
    own, taught = (torch.randn(1, 1, 4, 7, generator=SOURCE) for _ in range(2))

    def shares(logits: Tensor) -> list[float]:
        powers = [math.exp(value / 5) for value in logits.tolist()]
        return [power / sum(powers) for power in powers]

    total = 0.0
    for edge in range(4):
        for s, t in zip(shares(own[0, 0, edge]), shares(taught[0, 0, edge]), strict=True):
            total += 25 * t * (math.log(t) - math.log(s)) / 4
    assert divergence(own, taught, temperature=5.0).item() == pytest.approx(total, rel=1e-4)
    assert divergence(own, own, temperature=5.0).item() == pytest.approx(0.0, abs=1e-5)


def test_joined_means_by_hand() -> None:
    """One positive of 4, four negatives of mean 1: (1 * 4 + 2 * 1) / (1 + 2); what is ignored plays no part."""
    losses = torch.tensor([[4.0, 0.5, 1.0, 1.5, 1.0, 99.0]])
    index = torch.tensor([[0, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND, IGNORE]])
    assert joined_means(losses, Assignment(index)).item() == pytest.approx(2.0)
    assert joined_means(losses, Assignment(torch.full((1, 6), IGNORE))).item() == 0


def test_matchability_by_plain_loops() -> None:
    logits = torch.randn(1, 3, 2, generator=SOURCE)
    labels, quality = torch.tensor([[1, BACKGROUND, 0]]), torch.tensor([[0.6, 0.0, 0.0]])
    found = MatchabilityAware(gamma=1.5, alpha=0.5)(logits, labels, quality)
    for query in range(3):
        expected = 0.0
        for column in range(2):
            p = 1 / (1 + math.exp(-logits[0, query, column].item()))
            own = labels[0, query].item() == column
            q = quality[0, query].item() ** 1.5 if own else 0.0
            entropy = -q * math.log(p) - (1 - q) * math.log(1 - p)
            expected += entropy * (1.0 if own else 0.5 * p**1.5)
        assert found[0, query].item() == pytest.approx(expected, rel=1e-5)


def test_a_teacher_gets_no_gradient_and_a_layer_without_one_is_not_distilled() -> None:
    places, truth = candidates([(10.0, 10.0, 40.0, 40.0)] * 2), targets([[(12.0, 8.0, 44.0, 41.0)]])
    given, teacher = Assignment(torch.tensor([[0, BACKGROUND]])), predictions(2)
    said = predictions(2, teacher)
    terms = loss()(said, places, truth, given)
    terms["distillation"].backward()  # type: ignore[no-untyped-call]
    assert teacher.distribution is not None
    assert teacher.distribution.grad is None
    alone = loss()(dataclasses.replace(said, aux=()), places, truth, given)
    assert alone.keys() == {"classification", "distance", "overlap", "fine"}


def test_the_union_by_hand() -> None:
    """Queries: agreed; only others match; two against one; one each, so the first truth; nobody; ignored."""
    b, i = BACKGROUND, IGNORE
    layers = [[0, b, 2, 1, b, i], [0, 1, 1, 0, b, b], [0, b, 1, b, b, b]]
    found = unite([Assignment(torch.tensor([layer])) for layer in layers], 3)
    assert found.index.tolist() == [[0, 1, 1, 0, b, i]]
    assert unite([Assignment(torch.tensor([[b, i]]))], 0).index.tolist() == [[b, i]]


def test_a_loss_of_one_piece_is_rejected() -> None:
    with pytest.raises(RecipeError, match=r"one_stage_union.*dfine.*QualityMultiBox"):
        build(
            "dfine_mobilenet_v2",
            weights=None,
            overrides={
                "backbone.weights": None,
                "loss": {
                    "type": "quality_multibox",
                    "classification": {"type": "quality_focal"},
                    "box": {"type": "giou"},
                    "normaliser": {"type": "positives"},
                },
            },
        )


def test_what_is_detected_does_not_depend_on_the_ground_truth() -> None:
    torch.manual_seed(0)
    detector = build(
        "dfine_mobilenet_v2", weights=None, num_classes=3, overrides={"backbone.weights": None, "input.size": [64, 96]}
    ).eval()
    assert isinstance(detector, OneStageUnion)
    batch = image_batch(1, size=(64, 96))
    with torch.no_grad():
        without = detector.network(batch)[1]
        for boxes in ([[(5.0, 5.0, 60.0, 60.0)]], [[(30.0, 2.0, 90.0, 40.0), (1.0, 1.0, 9.0, 9.0)]]):
            said = detector.network(batch, targets(boxes, size=(64, 96)))[1]
            assert said.class_logits is not None
            assert without.class_logits is not None
            assert torch.allclose(said.class_logits, without.class_logits, atol=1e-5)
            assert torch.allclose(said.deltas, without.deltas, atol=1e-5)
