"""YOLOX's loss against sums written as plain loops, its gradients by differences, and where nothing counts."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import L1, BinaryCrossEntropy, Iou
from detzoo.testing import candidates, targets
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_yolox.box_coder import CellCorner
from detzoo_yolox.loss import YoloxLoss

SIZE = (32, 32)
CLASSES = 3


def loss(late_from: float = 0.5) -> YoloxLoss:
    return YoloxLoss(
        classification=BinaryCrossEntropy(),
        box=Iou(power=2),
        late_box=L1(),
        late_from=late_from,
        normaliser=Positives(),
    )


def scene() -> tuple[Predictions, Candidates, Targets, Assignment]:
    """16 cells of 8 px; an object for cells 5 and 6, another for cell 10; cell 0 is ignored."""
    generator = torch.Generator().manual_seed(0)
    places = candidates(size=SIZE, strides=(8,), sides=(1.0,), coder=CellCorner())
    places = dataclasses.replace(places, boxes=places.boxes.double())
    draw = torch.randn(1, 16, 5 + CLASSES, generator=generator, dtype=torch.float64)
    given = Predictions(draw[..., 5:], "sigmoid", draw[..., None, :4] * 0.3, quality_logits=draw[..., 4].contiguous())
    truth = targets([[(7.0, 6.0, 20.0, 18.0), (14.0, 15.0, 25.0, 24.0)]], [[2, 0]], size=SIZE)
    truth = dataclasses.replace(truth, boxes=truth.boxes.double())
    index = torch.full((1, 16), BACKGROUND)
    index[0, [5, 6, 10]] = torch.tensor([0, 0, 1])
    index[0, 0] = IGNORE
    quality = torch.zeros(1, 16, dtype=torch.float64)
    quality[0, [5, 6, 10]] = torch.tensor([0.3, 0.8, 0.6], dtype=torch.float64)
    return given, places, truth, Assignment(index, quality=quality)


def entropy(logit: float, truth: float) -> float:
    score = 1 / (1 + math.exp(-logit))
    return -truth * math.log(score) - (1 - truth) * math.log(1 - score)


def test_as_the_plain_loops() -> None:
    given, places, truth, assigned = scene()
    assert given.class_logits is not None
    assert given.quality_logits is not None
    box = classes = objectness = late = 0.0
    for cell, row in enumerate(assigned.index[0].tolist()):
        if row != IGNORE:
            objectness += entropy(float(given.quality_logits[0, cell]), float(row >= 0))
        if row < 0:
            continue
        left, top = 8 * (cell % 4), 8 * (cell // 4)
        dx, dy, dw, dh = given.deltas[0, cell, 0].tolist()
        x, y, w, h = left + 8 * dx, top + 8 * dy, 8 * math.exp(dw), 8 * math.exp(dh)
        x1, y1, x2, y2 = truth.boxes[0, row].tolist()
        width = min(x + w / 2, x2) - max(x - w / 2, x1)
        height = min(y + h / 2, y2) - max(y - h / 2, y1)
        shared = max(0.0, width) * max(0.0, height)
        box += 1 - (shared / (w * h + (x2 - x1) * (y2 - y1) - shared)) ** 2
        wanted = ((x1 + x2) / 2 - left) / 8, ((y1 + y2) / 2 - top) / 8, math.log((x2 - x1) / 8), math.log((y2 - y1) / 8)
        late += sum(abs(a - b) for a, b in zip((dx, dy, dw, dh), wanted, strict=True))
        own, quality = int(truth.labels[0, row]), float(assigned.quality[0, cell])  # type: ignore[index]
        logits = given.class_logits[0, cell].tolist()
        classes += sum(entropy(logit, quality if k == own else 0.0) for k, logit in enumerate(logits))
    ended = dataclasses.replace(truth, progress=torch.tensor(0.5))
    terms = loss()(given, places, ended, assigned)
    expected = {"box": 5 * box, "classification": classes, "objectness": objectness, "late_box": late}
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        {name: total / 3 for name, total in expected.items()}, rel=1e-9
    )


@pytest.mark.parametrize("progress", [None, 0.0, 0.49])
def test_the_late_term_waits(progress: float | None) -> None:
    given, places, truth, assigned = scene()
    told = dataclasses.replace(truth, progress=None if progress is None else torch.tensor(progress))
    assert float(loss()(given, places, told, assigned)["late_box"]) == 0


def test_gradients_are_those_of_differences() -> None:
    given, places, truth, assigned = scene()
    truth = dataclasses.replace(truth, progress=torch.tensor(1.0))

    def total(classes: torch.Tensor, deltas: torch.Tensor, objectness: torch.Tensor) -> torch.Tensor:
        terms = loss()(Predictions(classes, "sigmoid", deltas, objectness), places, truth, assigned)
        return torch.stack(list(terms.values())).sum()

    parts = [part.clone().requires_grad_() for part in (given.class_logits, given.deltas, given.quality_logits)]  # type: ignore[union-attr]
    assert torch.autograd.gradcheck(total, parts, eps=1e-6, atol=1e-7)


def test_a_box_weighs_what_mixup_says() -> None:
    given, places, truth, assigned = scene()
    truth = dataclasses.replace(truth, progress=torch.tensor(1.0))
    only = dataclasses.replace(assigned, index=torch.where(assigned.index == 1, BACKGROUND, assigned.index))
    half = torch.full_like(truth.boxes[..., 0], 0.5)
    full, weighed = (loss()(given, places, one, only) for one in (truth, dataclasses.replace(truth, weight=half)))
    for name in ("box", "classification", "late_box"):
        assert float(weighed[name]) == pytest.approx(0.5 * float(full[name]))
    assert float(weighed["objectness"]) == float(full["objectness"])


@pytest.mark.parametrize("count", [0, 16])
def test_without_positives_boxes_and_classes_are_zeros_of_the_graph(count: int) -> None:
    given, places, truth, _ = scene()
    given = Predictions(
        given.class_logits[:, :count].requires_grad_(),  # type: ignore[index]
        "sigmoid",
        given.deltas[:, :count].requires_grad_(),
        given.quality_logits[:, :count].requires_grad_(),  # type: ignore[index]
    )
    places = Candidates(places.boxes[:, :count], places.valid[:, :count], coder=places.coder)
    empty = Assignment(torch.full((1, count), BACKGROUND))
    terms = loss()(given, places, truth, empty)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]  # connected: no error
    assert [terms[name].item() for name in ("box", "classification", "late_box")] == [0, 0, 0]
    assert given.quality_logits is not None
    background = [entropy(logit, 0.0) for logit in given.quality_logits[0].tolist()]
    assert terms["objectness"].item() == pytest.approx(sum(background))
