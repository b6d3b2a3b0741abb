"""Which cells become queries: anchors by hand, invalid cells, and fewer cells than queries."""

from __future__ import annotations

import math

import torch
from torch import nn

from detzoo_detr.query_selection import QuerySelection, anchor_logits, logit


def test_anchors_in_plain_loops() -> None:
    shapes = [(3, 4), (2, 2), (1, 60)]
    logits, valid = anchor_logits(shapes, like=torch.zeros(0, dtype=torch.float64))
    row = 0
    for level, (h, w) in enumerate(shapes):
        for y in range(h):
            for x in range(w):
                box = [(x + 0.5) / w, (y + 0.5) / h, 0.05 * 2**level, 0.05 * 2**level]
                inside = all(0.01 < value < 0.99 for value in box)
                assert bool(valid[row]) == inside
                for found, value in zip(logits[row].tolist(), box, strict=True):
                    assert math.isclose(found, math.log(value / (1 - value)), rel_tol=1e-12) or not inside
                row += 1
    assert row == len(logits)
    assert int((~valid).sum()) == 2  # the first and the last of 60 columns lie within 0.01 of the border
    assert (logits[~valid].sigmoid() == 1).all()


def test_the_best_cells_by_their_best_class() -> None:
    select = QuerySelection(width=4, classes=3, queries=2, prior=0.01).double()
    select.output = nn.Sequential(nn.Identity())  # a cell is what it says
    nn.init.zeros_(select.classes.bias)
    select.classes.weight = nn.Parameter(torch.eye(3, 4, dtype=torch.float64))
    cells = torch.zeros(1, 6, 4, dtype=torch.float64)
    cells[0, 4, 1], cells[0, 1, 2], cells[0, 5, 3] = 3.0, 2.0, 9.0  # the last says nothing of a class
    found = select(cells, [(2, 3)])
    assert torch.equal(found.content[0], cells[0, [4, 1]])
    assert torch.equal(found.classes[0], cells[0, [4, 1], :3])
    anchors, _ = anchor_logits([(2, 3)], like=cells[:0])
    torch.testing.assert_close(found.boxes[0], anchors[[4, 1]])  # corrections start as zeros
    assert not found.content.requires_grad


def test_cells_at_the_border_say_what_a_cell_of_zeros_says() -> None:
    select = QuerySelection(width=4, classes=3, queries=60, prior=0.01)
    cells = torch.randn(2, 60, 4, generator=torch.Generator().manual_seed(0))
    other = cells.clone()
    other[:, [0, 59]] += 5
    one, two = select(cells, [(1, 60)]), select(other, [(1, 60)])
    assert torch.equal(one.classes, two.classes)


def test_fewer_cells_than_queries() -> None:
    found = QuerySelection(width=4, classes=3, queries=300, prior=0.01)(torch.randn(2, 5, 4), [(2, 2), (1, 1)])
    assert found.boxes.shape == (2, 5, 4)


def test_logit_is_bounded() -> None:
    found = logit(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64))
    edge = math.log(1e-5)
    torch.testing.assert_close(found, torch.tensor([edge, edge, 0.0, -edge, -edge], dtype=torch.float64))
