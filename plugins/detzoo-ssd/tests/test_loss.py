"""Focal loss on a softmax, against its formula."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.components.box_coders import CentreSize
from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import SmoothL1
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets
from detzoo_ssd.loss import SoftmaxFocal

BOXES = torch.tensor([[[0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0], [0.0, 10.0, 10.0, 20.0]]])


def candidates() -> Candidates:
    return Candidates(boxes=BOXES, valid=torch.ones(1, 3, dtype=torch.bool), coder=CentreSize())


def targets(boxes: torch.Tensor, labels: torch.Tensor) -> Targets:
    flags = torch.zeros(labels.shape, dtype=torch.bool)
    return Targets(boxes, labels, ignore=flags, valid=~flags, region=torch.tensor([[0.0, 0.0, 20.0, 20.0]]))


def loss() -> SoftmaxFocal:
    return SoftmaxFocal(box=SmoothL1(), normaliser=Positives(), gamma=2.0, alpha=0.75)


def test_without_objects_there_is_a_loss_connected_to_the_graph() -> None:
    logits = torch.zeros(1, 3, 3, requires_grad=True)
    deltas = torch.zeros(1, 3, 1, 4, requires_grad=True)
    index = torch.full((1, 3), BACKGROUND)
    nothing = targets(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64))
    terms = loss()(Predictions(logits, "softmax", deltas), candidates(), nothing, Assignment(index))
    assert terms["box"].item() == 0
    assert terms["classification"].item() == pytest.approx(3 * 0.25 * (2 / 3) ** 2 * math.log(3))
    torch.autograd.backward(list(terms.values()))
    assert deltas.grad is not None
    assert not deltas.grad.any()


def test_by_hand() -> None:
    logits = torch.zeros(1, 3, 3)
    logits[0, 0] = torch.tensor([0.0, 0.0, math.log(2)])  # p(class 1) = 1/2
    index = torch.tensor([[0, BACKGROUND, IGNORE]])
    truth = targets(BOXES[:, :1], torch.tensor([[1]]))
    terms = loss()(
        Predictions(logits, "softmax", torch.full((1, 3, 1, 4), 0.5)), candidates(), truth, Assignment(index)
    )
    positive = 0.75 * (1 / 2) ** 2 * math.log(2)
    negative = 0.25 * (2 / 3) ** 2 * math.log(3)
    assert terms["classification"].item() == pytest.approx(positive + negative)  # one positive divides both
    assert terms["box"].item() == pytest.approx(4 * 0.5 * 0.5**2)  # the prior is the object: all targets are 0
