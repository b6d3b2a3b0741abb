"""The focal loss and L1, against the definition; the coder's numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch

from detzoo.ops.grid import grid_candidates
from detzoo.types import BACKGROUND
from detzoo_centernet.box_coder import CentreInCell
from detzoo_centernet.loss import CentreL1, PenaltyReducedFocal


def test_the_focal_loss_is_equation_1() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 3, dtype=torch.float64)
    heat = torch.rand(2, 5, 3, dtype=torch.float64)
    heat[0, 0, 0] = heat[1, 3, 2] = 1
    found = PenaltyReducedFocal()(logits, torch.zeros(2, 5, dtype=torch.int64), heat)
    for image in range(2):
        for cell in range(5):
            expected = 0.0
            for logit, y in zip(logits[image, cell].tolist(), heat[image, cell].tolist(), strict=True):
                p = 1 / (1 + math.exp(-logit))
                expected -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
            assert float(found[image, cell]) == pytest.approx(expected, rel=1e-9)


def test_extreme_logits_stay_finite() -> None:
    logits = torch.tensor([[[-5e4, 5e4]]], requires_grad=True)
    loss = PenaltyReducedFocal()(logits, torch.zeros(1, 1, dtype=torch.int64), torch.tensor([[[1.0, 0.0]]]))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach().sum()) == pytest.approx(1e5)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_without_a_heatmap_the_label_is_the_peak() -> None:
    found = PenaltyReducedFocal()(torch.zeros(1, 2, 3), torch.tensor([[1, BACKGROUND]]))
    assert found[0].tolist() == pytest.approx([0.25 * math.log(2) * 3] * 2)  # p is one half everywhere


def test_offsets_and_sizes_by_hand() -> None:
    cells = grid_candidates({"s4": torch.zeros(1, 1, 3, 3)}, {"s4": 4.0}, (1.0,), coder=CentreInCell())
    box = torch.tensor([5.0, 4.0, 9.0, 12.0])  # centre 7, 8; 4 x 8 px
    cell = cells.boxes[0, 2 * 3 + 1]  # column 1, row 2: its corner is 4, 8
    coded = CentreInCell().encode(box, cell, torch.tensor(4.0))
    assert coded.tolist() == [0.75, 0.0, 1.0, 2.0]
    assert CentreInCell().decode(coded, cell, torch.tensor(4.0)).tolist() == box.tolist()
    deltas = torch.tensor([0.25, 0.5, 2.0, 0.0]).expand(1, 9, 4)  # off by 0.5, 0.5, 1 and 2
    loss = CentreL1()(deltas, box.expand(1, 9, 4), cells)
    assert float(loss[0, 7]) == pytest.approx(0.5 + 0.5 + 0.1 * (1 + 2))
