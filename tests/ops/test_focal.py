"""Focal loss against the paper's formula in float64, by hand, and its gradient; both ways that it is computed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from detzoo.ops import focal
from detzoo.ops.focal import focal_by_formula, focal_in_pieces, softplus

WAYS = [focal_by_formula, focal_in_pieces]
Way = Callable[..., Tensor]


def paper(logits: Tensor, labels: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """Eq. 5 of arXiv:1708.02002 entry by entry, with Python's floats."""
    rows = []
    for row, label in zip(logits.flatten(0, 1).tolist(), labels.flatten().tolist(), strict=True):
        total = 0.0
        for column, x in enumerate(row):
            p = 1 / (1 + math.exp(-x))
            p_t = p if column == label else 1 - p
            a_t = 1.0 if alpha is None else alpha if column == label else 1 - alpha
            total -= a_t * (1 - p_t) ** gamma * math.log(p_t)
        rows.append(total)
    return torch.tensor(rows, dtype=torch.float64).view(labels.shape)


def scene() -> tuple[Tensor, Tensor]:
    logits = 3 * torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return logits, torch.tensor([[0, 1, 2, -1, -1, -2], [2, -1, 0, 0, -2, 1]])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3)])
def test_nothing_to_classify(way: Way, shape: tuple[int, int, int]) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    found = way(logits, torch.zeros(shape[:2], dtype=torch.int64), alpha=0.25, gamma=2.0)
    assert found.shape == shape[:2]
    torch.autograd.backward(found.sum())
    assert logits.grad is not None
    assert logits.grad.shape == shape


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 1.0])
def test_the_formula_of_the_paper_and_its_gradient(
    way: Way, alpha: float | None, gamma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(focal, "PIECE", 7)  # 2 rows or so at once, so that 12 rows make several pieces
    logits, labels = scene()
    torch.testing.assert_close(
        way(logits, labels, alpha=alpha, gamma=gamma), paper(logits, labels, alpha, gamma), atol=1e-12, rtol=1e-10
    )
    assert torch.autograd.gradcheck(
        lambda x: way(x, labels, alpha=alpha, gamma=gamma), (logits.requires_grad_(),), atol=1e-7
    )


@pytest.mark.parametrize("way", WAYS)
def test_by_hand(way: Way) -> None:
    # p = .9 of the right class costs a quarter of .1^2 * -log .9; the paper: 100 times less than cross-entropy
    logits = torch.tensor([[[math.log(9.0)]], [[math.log(9.0)]]])
    found = way(logits, torch.tensor([[0], [-1]]), alpha=0.25, gamma=2.0)
    assert found[0, 0].item() == pytest.approx(0.25 * 0.01 * -math.log(0.9), rel=1e-4)
    assert found[1, 0].item() == pytest.approx(0.75 * 0.81 * -math.log(0.1), rel=1e-6)
    plain = way(logits, torch.tensor([[0], [-1]]), alpha=None, gamma=0.0)
    assert (found / plain)[0, 0].item() == pytest.approx(0.25 / 100, rel=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_sure_answers_cost_nothing_or_much_and_stay_finite(way: Way) -> None:
    logits = torch.tensor([[[100.0], [-100.0], [100.0], [-100.0]]], requires_grad=True)
    found = way(logits, torch.tensor([[0, 0, -1, -1]]), alpha=0.25, gamma=2.0)
    assert found.tolist() == [[0.0, 25.0, 75.0, 0.0]]
    torch.autograd.backward(found.sum())
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [0.0, -0.25, 0.75, 0.0]


def test_pieces_are_laid_out_over_any_memory() -> None:
    logits, labels = scene()
    turned = logits.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    straight = logits.clone().requires_grad_()
    weight = torch.arange(12.0, dtype=torch.float64).view(2, 6)
    for one in (turned, straight):
        torch.autograd.backward((weight * focal_in_pieces(one, labels, alpha=0.25, gamma=2.0)).sum())
    assert turned.grad is not None
    assert straight.grad is not None
    torch.testing.assert_close(turned.grad, straight.grad)


def test_the_graph_keeps_one_tensor_and_no_loss_without_gradient_keeps_any() -> None:
    logits, labels = scene()
    kept: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        focal_in_pieces(logits, labels, alpha=0.25, gamma=2.0)
        with torch.no_grad():
            focal_in_pieces(logits.requires_grad_(), labels, alpha=0.25, gamma=2.0)
        assert not kept
        focal_in_pieces(logits, labels, alpha=0.25, gamma=2.0)
    assert kept == [(2, 6, 3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_is_exact_to_rounding(dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-80, 80, 4001), torch.tensor([-1e4, 0.0, 1e4])]).to(dtype)
    exact = torch.tensor([max(v, 0.0) + math.log1p(math.exp(-abs(v))) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(softplus(x).double(), exact, rtol=4 * torch.finfo(dtype).eps, atol=1e-44)
