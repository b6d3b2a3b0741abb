"""Sigmoid focal loss of many logits, nearly all of them background, without the memory of a chain of operations.

K classes; P logits that are true. Everything but P of the B*N*K logits has truth 0, so no tensor of truths is made:
the signs of the few are turned. On the CPU forward and backward each run through pieces that stay in the cache, and
the graph keeps the logits alone.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PIECE: Final = 1 << 15
"""Logits of each thread computed at once: 128 KB per intermediate. ATen gives a thread no fewer."""


def focal_by_formula(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """Focal loss -a (1 - p)^gamma log p, summed over classes, where p is the probability of the right answer.

    Args:
        logits: float [B,N,K].
        labels: int64 [B,N], 0..K-1, or anything below 0 for background.
        alpha: a of the true class; a of the others is 1 - alpha. None: a is 1.
        gamma: focusing exponent.

    Returns:
        float [B,N].

    Source: RetinaNet, eq. 4 and 5; p of the right answer is computed from the logit of the right answer, which keeps
    1 - p exact where it is small.
    """
    true = labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
    wrong = torch.where(true, -logits, logits)  # the logit of the wrong answer
    loss = torch.sigmoid(wrong) ** gamma * F.softplus(wrong)
    if alpha is not None:
        loss = loss * torch.where(true, alpha, 1 - alpha)
    return loss.sum(-1)


def focal_in_pieces(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """The same as ``focal_by_formula``, for the CPU; its gradient cannot be differentiated again."""
    found: Tensor = _Focal.apply(logits, labels, alpha, gamma)
    return found


class _Focal(torch.autograd.Function):
    """Forward and backward, piece by piece."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float | None, gamma: float) -> Tensor:
        """Loss [B,N]."""
        ctx.save_for_backward(logits, labels)
        ctx.alpha, ctx.gamma = alpha, gamma
        rows = logits.new_empty(labels.numel())
        for piece in _pieces(logits, labels):
            wrong, true = piece.wrong(logits)
            loss = torch.sigmoid(wrong).pow_(gamma).mul_(F.softplus(wrong))
            torch.sum(_weighted(loss, true, alpha), dim=-1, out=rows[piece.start : piece.stop])
        return rows.view(labels.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """With q = sigmoid(x): d/dx q^gamma softplus(x) = q^gamma (gamma (1 - q) softplus(x) + q)."""
        logits, labels = ctx.saved_tensors
        alpha, gamma = ctx.alpha, ctx.gamma
        slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
        flat, outer = slopes.view(-1, logits.shape[-1]), gradient.reshape(-1, 1)
        for piece in _pieces(logits, labels):
            wrong, true = piece.wrong(logits)
            chance = torch.sigmoid(wrong)
            focus = F.softplus(wrong).mul_(gamma).mul_(1 - chance).add_(chance)
            slope = _weighted(focus.mul_(chance.pow_(gamma)), true, alpha)
            slope[true] = -slope[true]
            torch.mul(slope, outer[piece.start : piece.stop], out=flat[piece.start : piece.stop])
        return slopes, None, None, None


class _Piece:
    """Rows ``start`` to ``stop`` of the logits; ``true`` int64 [2,p]: row within the piece, and column, of truths."""

    def __init__(self, start: int, stop: int, true: Tensor) -> None:
        self.start, self.stop, self.true = start, stop, true

    def wrong(self, logits: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The logits of the wrong answers [rows,K], and where the truths stand."""
        rows = logits.reshape(-1, logits.shape[-1])[self.start : self.stop].clone()
        true = (self.true[0], self.true[1])
        rows[true] = -rows[true]
        return rows, true


def _pieces(logits: Tensor, labels: Tensor) -> list[_Piece]:
    """Rows in pieces of about ``PIECE`` logits for each thread."""
    count, classes = labels.numel(), logits.shape[-1]
    step = max(1, PIECE * torch.get_num_threads() // max(1, classes))
    flat = labels.reshape(-1)
    row = (flat >= 0).nonzero().squeeze(1)  # ascending
    column = flat[row]
    starts = list(range(0, count, step))
    bounds = torch.searchsorted(row, torch.tensor([*starts, count])).tolist()
    return [
        _Piece(start, min(start + step, count), torch.stack((row[low:high] - start, column[low:high])))
        for start, low, high in zip(starts, bounds, bounds[1:], strict=False)
    ]


def _weighted(values: Tensor, true: tuple[Tensor, Tensor], alpha: float | None) -> Tensor:
    """``values`` [rows,K] times alpha where true, 1 - alpha elsewhere, in place."""
    if alpha is None:
        return values
    of_true = values[true] * alpha
    values.mul_(1 - alpha)[true] = of_true
    return values
