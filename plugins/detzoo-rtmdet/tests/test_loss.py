"""The loss of the recipes against sums written as plain loops, its gradients by differences, and the empty cases."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from detzoo.components.box_coders import Edges
from detzoo.components.losses.quality_multibox import QualityMultiBox
from detzoo.components.normalisers import Qualities
from detzoo.components.unreduced_losses import Giou, QualityFocal
from detzoo.ops.grid import grid_candidates
from detzoo.recipes.recipe import load_recipe
from detzoo.testing import targets
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets

SIZE = (32, 32)
CLASSES = 3


def loss() -> QualityMultiBox:
    return QualityMultiBox(
        classification=QualityFocal(beta=2.0),
        box=Giou(),
        normaliser=Qualities(),
        target="matcher",
        box_by="target",
        box_weight=2.0,
    )


@pytest.mark.parametrize("name", ["rtmdet_l_coco", "rtmdet_mobilenet_v2"])
def test_the_recipes_say_the_loss_that_is_tested_here(name: str) -> None:
    values = load_recipe(name).values["loss"]
    assert values["classification"] == {"type": "quality_focal", "beta": 2.0}
    assert values["box"] == {"type": "giou"}
    assert values["normaliser"] == {"type": "qualities", "scope": "batch", "at_least": 1.0}
    assert (values["target"], values["box_by"]) == ("matcher", "target")
    assert (values["class_weight"], values["box_weight"]) == (1.0, 2.0)
    assert values["distribution"] is values["box_normaliser"] is None


def scene(
    qualities: tuple[float, float, float] = (0.3, 0.8, 0.6),
) -> tuple[Predictions, Candidates, Targets, Assignment]:
    """16 points, 8 px apart; an object for points 5 and 6, another for point 10; point 0 is ignored."""
    generator = torch.Generator().manual_seed(0)
    places = grid_candidates({"s8": torch.zeros(1, 1, 4, 4)}, {"s8": 8.0}, (1.0,), coder=Edges(), offset=0.0)
    places = dataclasses.replace(places, boxes=places.boxes.double())
    draw = torch.randn(1, 16, 4 + CLASSES, generator=generator, dtype=torch.float64)
    given = Predictions(draw[..., 4:], "sigmoid", draw[..., None, :4].exp())
    truth = targets([[(7.0, 6.0, 20.0, 18.0), (14.0, 15.0, 25.0, 24.0)]], [[2, 0]], size=SIZE)
    truth = dataclasses.replace(truth, boxes=truth.boxes.double())
    index = torch.full((1, 16), BACKGROUND)
    index[0, [5, 6, 10]] = torch.tensor([0, 0, 1])
    index[0, 0] = IGNORE
    quality = torch.zeros(1, 16, dtype=torch.float64)
    quality[0, [5, 6, 10]] = torch.tensor(qualities, dtype=torch.float64)
    return given, places, truth, Assignment(index, quality=quality)


def quality_focal(logit: float, wanted: float) -> float:
    score = 1 / (1 + math.exp(-logit))
    return abs(wanted - score) ** 2 * (-wanted * math.log(score) - (1 - wanted) * math.log(1 - score))


def by_loops(given: Predictions, truth: Targets, assigned: Assignment) -> dict[str, float]:
    """Both terms of one image."""
    assert given.class_logits is not None
    assert assigned.quality is not None
    classes = box = total = 0.0
    for cell, row in enumerate(assigned.index[0].tolist()):
        if row == IGNORE:
            continue
        quality = float(assigned.quality[0, cell])
        own = int(truth.labels[0, row]) if row >= 0 else -1
        logits = given.class_logits[0, cell].tolist()
        classes += sum(quality_focal(logit, quality if k == own else 0.0) for k, logit in enumerate(logits))
        if row < 0:
            continue
        total += quality
        x, y, (left, top, right, bottom) = 8 * (cell % 4), 8 * (cell // 4), given.deltas[0, cell, 0].tolist()
        a, b = (x - 8 * left, y - 8 * top, x + 8 * right, y + 8 * bottom), truth.boxes[0, row].tolist()
        shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
        hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
        box += quality * (1 - (shared / union - (hull - union) / hull))
    divisor = max(1.0, total)
    return {"classification": classes / divisor, "box": 2 * box / divisor}


@pytest.mark.parametrize("qualities", [(0.3, 0.8, 0.6), (0.1, 0.2, 0.3), (0.0, 1.0, 0.0)])
def test_as_the_plain_loops(qualities: tuple[float, float, float]) -> None:
    """The divisor is the sum of qualities, 1.7, and at least 1."""
    given, places, truth, assigned = scene(qualities)
    terms = loss()(given, places, truth, assigned)
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        by_loops(given, truth, assigned), rel=1e-7
    )


def test_gradients_are_those_of_differences() -> None:
    given, places, truth, assigned = scene()

    def total(classes: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
        terms = loss()(Predictions(classes, "sigmoid", deltas), places, truth, assigned)
        return terms["classification"] + terms["box"]

    assert given.class_logits is not None
    parts = [part.clone().requires_grad_() for part in (given.class_logits, given.deltas)]
    assert torch.autograd.gradcheck(total, parts, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("count", [0, 16])
def test_without_positives_boxes_are_a_zero_of_the_graph(count: int) -> None:
    given, places, truth, _ = scene()
    assert given.class_logits is not None
    logits, deltas = (part[:, :count].clone().requires_grad_() for part in (given.class_logits, given.deltas))
    places = Candidates(places.boxes[:, :count], places.valid[:, :count], coder=places.coder)
    empty = Assignment(torch.full((1, count), BACKGROUND), quality=torch.zeros(1, count))
    terms = loss()(Predictions(logits, "sigmoid", deltas), places, truth, empty)
    (terms["classification"] + terms["box"]).backward()  # type: ignore[no-untyped-call]  # connected: no error
    assert terms["box"].item() == 0
    background = [quality_focal(logit, 0.0) for logit in given.class_logits[0, :count].flatten().tolist()]
    assert terms["classification"].item() == pytest.approx(sum(background))
