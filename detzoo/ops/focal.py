"""Sigmoid focal loss of many logits, nearly all of them background, without the memory of a chain of operations.

K classes; P logits that are true. Everything but P of the B*N*K logits has truth 0, so no tensor of truths is made:
the signs of the P others are changed. On the CPU the loss and its slope are computed together in pieces that stay in
the cache, and the graph keeps the slopes alone.
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
    loss = torch.sigmoid(wrong) ** gamma * F.softplus(wrong)  # -log(1 - sigmoid(wrong)), without overflow
    if alpha is not None:
        loss = loss * torch.where(true, alpha, 1 - alpha)
    return loss.sum(-1)


def focal_in_pieces(logits: Tensor, labels: Tensor, *, alpha: float | None, gamma: float) -> Tensor:
    """The same as ``focal_by_formula``, for the CPU; its gradient cannot be differentiated again."""
    wanted = torch.is_grad_enabled() and logits.requires_grad
    found: Tensor = _Focal.apply(logits, labels, alpha, gamma, wanted)
    return found


class _Focal(torch.autograd.Function):
    """Loss and slope together, piece by piece: both are made of the same exponentials."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float | None, gamma: float, wanted: bool) -> Tensor:
        """Loss [B,N].

        With q = sigmoid(x) of a wrong answer's logit x, d/dx q^gamma softplus(x) = q^gamma (gamma (1 - q) softplus(x) +
        q).
        """
        slopes = torch.empty_like(logits, memory_format=torch.contiguous_format) if wanted else None
        losses = logits.new_empty(labels.numel())
        rows = logits.reshape(-1, logits.shape[-1])  # [B*N,K]
        for piece in _pieces(rows, labels):
            wrong, true = piece.wrong(rows)
            chance, cost = torch.sigmoid(wrong), softplus(wrong)
            focus = chance**gamma
            torch.sum(_weighted(focus * cost, true, alpha), dim=-1, out=losses[piece.start : piece.stop])
            # the formula of the docstring, in place: the intermediates of one piece are all that is held
            if slopes is not None:
                slope = slopes.view_as(rows)[piece.start : piece.stop]
                torch.mul(cost.mul_(1 - chance).mul_(gamma).add_(chance), focus, out=slope)
                _weighted(slope, true, alpha)[true] *= -1
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return losses.view(labels.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The slopes, weighted by what becomes of each row."""
        (slopes,) = ctx.saved_tensors
        return slopes * gradient.unsqueeze(-1), None, None, None, None


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), exact to rounding. torch's own calls log1p entry by entry, which takes ten times as long.

    With u the rounded 1 + e, log(1 + e) = log(u) + (e - (u - 1)) / u to first order in what rounding lost, and the
    second is below one unit in the last place.
    """
    small = x.abs().neg_().exp_()  # e^-|x| never overflows; the clamp below adds max(x, 0) back
    one_more = small + 1
    lost = small.sub_(one_more - 1).div_(one_more)
    return one_more.log_().add_(lost).add_(x.clamp(min=0))


class _Piece:
    """Rows ``start`` to ``stop`` of the logits; ``true`` int64 [2,p]: row within the piece, and column, of truths."""

    def __init__(self, start: int, stop: int, true: Tensor) -> None:
        self.start, self.stop, self.true = start, stop, true

    def wrong(self, rows: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The logits of the wrong answers, of all ``rows`` [B*N,K] those of the piece, and where the truths stand."""
        own = rows[self.start : self.stop].clone()  # a slice is a view: the caller's logits must stay as they are
        true = (self.true[0], self.true[1])
        own[true] = -own[true]
        return own, true


def _pieces(rows: Tensor, labels: Tensor) -> list[_Piece]:
    """Rows [B*N,K] in pieces of about ``PIECE`` logits for each thread."""
    count, classes = rows.shape
    step = max(1, PIECE * torch.get_num_threads() // max(1, classes))  # ATen splits one operation over all threads
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
