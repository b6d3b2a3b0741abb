"""YOLOX's deltas by hand."""

from __future__ import annotations

import math

import torch

from detzoo_yolox.box_coder import CellCorner

CELL = torch.tensor([[16.0, 8.0, 24.0, 16.0]])  # column 2, row 1 of the map of stride 8
STRIDE = torch.tensor([8.0])


def test_by_hand() -> None:
    box = torch.tensor([[12.0, 4.0, 28.0, 16.0]])  # centre (20, 10), 16 x 12 px
    deltas = torch.tensor([[0.5, 0.25, math.log(2), math.log(1.5)]])
    torch.testing.assert_close(CellCorner().encode(box, CELL, STRIDE), deltas)
    torch.testing.assert_close(CellCorner().decode(deltas, CELL, STRIDE), box)


def test_a_box_without_width_is_encoded_finitely() -> None:
    deltas = CellCorner().encode(torch.tensor([[12.0, 4.0, 12.0, 16.0]]), CELL, STRIDE)
    assert deltas.isfinite().all()
    assert float(CellCorner().decode(deltas, CELL, STRIDE)[0, 2]) - 12 < 1e-6


def test_sides_without_bound_unless_clamped() -> None:
    deltas = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    width = CellCorner().decode(deltas, CELL, STRIDE)
    assert float(width[0, 2] - width[0, 0]) > 8 * 22_000
    clamped = CellCorner(clamp=math.log(10)).decode(deltas, CELL, STRIDE)
    torch.testing.assert_close(clamped[0, 2] - clamped[0, 0], torch.tensor(80.0))
