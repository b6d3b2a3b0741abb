"""FCOS's loss: centreness by hand, the three terms over one divisor; RetinaNet's three normalisers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from detzoo.builder import build, load
from detzoo.components.box_coders import Edges
from detzoo.components.normalisers import Fixed, MovingAverage, Positives
from detzoo.components.unreduced_losses import Focal, Giou
from detzoo.errors import RecipeError
from detzoo.interfaces import Detector
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo.weights.checkpoint import Checkpoint, save_checkpoint
from detzoo_retinanet.loss import FcosLoss, centreness

B = BACKGROUND
SQUARES = torch.tensor([[[-4.0, -4, 4, 4], [4.0, -4, 12, 4], [12.0, -4, 20, 4]]])  # points (0, 0), (8, 0), (16, 0)
BOX = torch.tensor([[[-2.0, -6, 22, 6]]])


def candidates() -> Candidates:
    return Candidates(SQUARES, torch.ones(1, 3, dtype=torch.bool), coder=Edges(unit="px"))


def targets(boxes: torch.Tensor = BOX) -> Targets:
    flags = torch.zeros(boxes.shape[:2], dtype=torch.bool)
    return Targets(boxes, torch.zeros(boxes.shape[:2], dtype=torch.int64), flags, ~flags, torch.zeros(1, 4))


def loss(**changes: Any) -> FcosLoss:
    parts: dict[str, Any] = {"classification": Focal(), "box": Giou(), "normaliser": Positives()}
    return FcosLoss(**{**parts, **changes})


def said(quality: float | None = 0.0) -> Predictions:
    logits = torch.zeros(1, 3, 2, requires_grad=True)
    deltas = torch.full((1, 3, 1, 4), 6.0, requires_grad=True)
    centre = None if quality is None else torch.full((1, 3), quality, requires_grad=True)
    return Predictions(logits, "sigmoid", deltas, quality_logits=centre)


def test_without_objects_boxes_and_centreness_are_zeros_of_the_graph() -> None:
    predictions = said()
    assignment = Assignment(torch.full((1, 3), B))
    terms = loss()(predictions, candidates(), targets(torch.zeros(1, 0, 4)), assignment)
    assert (terms["box"].item(), terms["centreness"].item()) == (0, 0)
    assert terms["classification"].item() == pytest.approx(6 * 0.75 * 0.25 * math.log(2))
    torch.autograd.backward(list(terms.values()))
    for leaf in (predictions.deltas, predictions.quality_logits):
        assert leaf is not None
        assert leaf.grad is not None
        assert not leaf.grad.any()


def test_centreness_by_hand() -> None:
    # left, right 2, 22 then 10, 14 then 18, 6; top and bottom 6, 6
    found = centreness(candidates(), BOX.expand(1, 3, 4))
    assert found[0].tolist() == pytest.approx([math.sqrt(2 / 22), math.sqrt(10 / 14), math.sqrt(6 / 18)])
    middle, edge, outside = [-9.0, -9, 9, 9], [0.0, -9, 9, 9], [3.0, -9, 9, 9]
    first = Candidates(SQUARES[:, :1].expand(1, 3, 4), torch.ones(1, 3, dtype=torch.bool))
    assert centreness(first, torch.tensor([[middle, edge, outside]]))[0].tolist() == [1.0, 0.0, 0.0]


def test_three_terms_by_hand() -> None:
    terms = loss()(said(), candidates(), targets(), Assignment(torch.tensor([[IGNORE, 0, 0]])))
    right, wrong = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    assert terms["classification"].item() == pytest.approx(2 * (right + wrong) / 2)
    # squares of 12 px in a box of 24 x 12: IoU 1/2, and the hull is the box, for both
    assert terms["box"].item() == pytest.approx(2 * 0.5 / 2)
    assert terms["centreness"].item() == pytest.approx(2 * math.log(2) / 2)  # logit 0 costs log 2, whatever the truth
    weighed = loss(class_weight=2.0, box_weight=3.0, centreness_weight=5.0)
    terms_weighed = weighed(said(), candidates(), targets(), Assignment(torch.tensor([[IGNORE, 0, 0]])))
    for name, factor in (("classification", 2), ("box", 3), ("centreness", 5)):
        assert terms_weighed[name].item() == pytest.approx(factor * terms[name].item())


def test_centreness_is_a_cross_entropy_with_a_soft_truth() -> None:
    truth = math.sqrt(10 / 14)
    terms = loss()(said(quality=1.5), candidates(), targets(), Assignment(torch.tensor([[B, 0, B]])))
    p = 1 / (1 + math.exp(-1.5))
    expected = -truth * math.log(p) - (1 - truth) * math.log(1 - p)
    assert terms["centreness"].item() == pytest.approx(expected, rel=1e-5)


def test_the_average_moves_once_a_step() -> None:
    terms = loss(normaliser=MovingAverage(start=10.0, momentum=0.5))
    terms(said(), candidates(), targets(), Assignment(torch.tensor([[B, 0, 0]])))
    assert terms.state_dict() == {"multibox.normaliser.average": torch.tensor(6.0)}  # (10 + 2) / 2


def test_a_head_without_centreness_is_refused() -> None:
    with pytest.raises(RecipeError) as error:
        loss()(said(quality=None), candidates(), targets(), Assignment(torch.tensor([[B, 0, 0]])))
    assert str(error.value) == (
        "loss fcos: the head predicts no centreness; use head: {type: fcos}, or loss: {type: multibox}"
    )


def test_three_normalisers() -> None:
    """Two images with 3 and 1 positives, each positive worth 1 and background nothing."""
    assignment = Assignment(torch.tensor([[0, 0, 0, B], [0, B, B, B]]))
    sums = torch.tensor([3.0, 1.0])

    def total(normaliser: torch.nn.Module) -> float:
        return float((sums / normaliser(assignment)).sum())

    assert total(Positives()) == 1.0  # Detectron: 4 / 4
    assert total(Positives(scope="image")) == 1.0  # torchvision: (3 / 3 + 1 / 1) / 2
    assert total(MovingAverage()) == pytest.approx(4 / (0.9 * 100 + 0.1 * 4))  # detectron2: 4 / 90.4
    assert total(Fixed(value=8.0, scope="batch")) == 0.5
    sums = torch.tensor([3.0, 5.0])  # an image without objects still pays for its background
    empty = Assignment(torch.tensor([[0, 0, 0, B], [B, B, B, B]]))
    assert float((sums / Positives()(empty)).sum()) == pytest.approx(8 / 3)
    assert float((sums / Positives(scope="image")(empty)).sum()) == (3 / 3 + 5 / 1) / 2


SMALL = {
    "input.size": [64, 64],
    "backbone.width": 0.35,
    "neck.channels": 64,
    "loss.normaliser": {"type": "moving_average"},
}


def average(detector: Detector) -> float:
    return float(detector.state_dict()["loss.normaliser.average"])


def test_the_moving_average_survives_a_checkpoint(tmp_path: Path) -> None:
    """detectron2 keeps it in a plain attribute, which a resumed run starts anew."""
    detector = build("retinanet_mobilenet_v2", num_classes=2, overrides=SMALL)
    assert average(detector) == 100
    detector.loss.normaliser(Assignment(torch.zeros(1, 50, dtype=torch.int64)))  # type: ignore[operator, union-attr]
    assert average(detector) == pytest.approx(95)
    recipe = {"name": detector.recipe.name, "values": detector.recipe.values}
    save_checkpoint(tmp_path / "one.safetensors", Checkpoint(recipe, detector.classes, detector.state_dict()))
    assert average(load(tmp_path / "one.safetensors")) == pytest.approx(95)
