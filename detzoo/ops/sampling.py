"""Choosing rows per image, at random or by value, without a loop over images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from detzoo.ops.ranking import allows_dynamic_shapes


def choose_random(mask: Tensor, count: Tensor | int, *, at_most: int | None = None) -> Tensor:
    """Up to ``count`` true entries of each row, uniformly at random.

    Args:
        mask: bool [B,N].
        count: int64 [B], or one number for all rows.
        at_most: upper bound of ``count`` known beforehand; spares the full sort.

    Returns:
        bool [B,N], a subset of ``mask``.
    """
    # the largest of random numbers are a uniform choice, and no loop over images as randperm needs
    return choose_largest(torch.rand(mask.shape, device=mask.device), mask, count, at_most=at_most)


def choose_largest(values: Tensor, mask: Tensor, count: Tensor | int, *, at_most: int | None = None) -> Tensor:
    """The ``count`` largest values of each row among the true entries of ``mask``.

    Args:
        values: float [B,N].
        mask: bool [B,N].
        count: int64 [B], or one number for all rows.
        at_most: upper bound of ``count`` known beforehand; spares the full sort.

    Returns:
        bool [B,N], a subset of ``mask``.
    """
    if at_most is None and allows_dynamic_shapes(values):
        at_most = count if isinstance(count, int) else int(count.max()) if count.numel() else 0
    size = values.shape[1] if at_most is None else max(0, min(at_most, values.shape[1]))
    order = values.masked_fill(~mask, -math.inf).topk(size, dim=1).indices  # [B,size]
    limit = count.unsqueeze(1) if isinstance(count, Tensor) else count
    chosen = (torch.arange(size, device=values.device) < limit).expand(order.shape)
    return torch.zeros_like(mask).scatter(1, order, chosen) & mask  # rows with fewer true entries than count
