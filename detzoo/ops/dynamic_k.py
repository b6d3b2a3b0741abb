"""Ground truths choose their cheapest candidates, each as many as its overlaps add up to: SimOTA, RTMDet.

M ground truths; S of a chunk of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detzoo.ops.matching import chunks
from detzoo.ops.ranking import extreme_rows
from detzoo.types import BACKGROUND

Costs = Callable[[slice], tuple[Tensor, Tensor, Tensor]]
"""Rows of ground truths -> cost float32 [B,S,N] of each pair, not negative; IoU float32 [B,S,N], 0 where it does not
count; bool [B,S,N]: pairs that may be chosen."""


def dynamic_k(
    costs: Costs, shape: tuple[int, int, int], usable: Tensor, *, most: int, parallel: int = 4
) -> tuple[Tensor, Tensor]:
    """Match by the k lowest costs of each ground truth; k is the sum of its ``most`` highest IoUs, at least 1.

    A candidate that several ground truths choose goes to the one, of all of them, for which it is cheapest; of equal
    costs the earlier candidate, and the earlier ground truth, is taken.

    Args:
        costs: see ``Costs``; called for some ground truths at a time, so that a thousand of them fit into memory.
        shape: (B, M, N).
        usable: bool [B,M]: ground truths that choose.
        most: IoUs that are added up, and the most candidates of one ground truth.
        parallel: intermediates [B,S,N] that ``costs`` holds at once.

    Returns:
        int64 [B,N]: a ground truth, or BACKGROUND; float32 [B,N]: the IoU of the pair, 0 for background.

    Source: Ge et al. 2021 (YOLOX, arXiv:2107.08430), section 2.1, SimOTA; its release's ``simota_matching``.
    """
    batch, truths, count = shape
    device = usable.device
    cheapest = torch.full((batch, count), torch.inf, device=device)
    cheapest_truth = torch.zeros(batch, count, dtype=torch.int64, device=device)
    claims = torch.zeros(batch, count, dtype=torch.int64, device=device)
    claimed_by = torch.full((batch, count), BACKGROUND, device=device)
    overlap_of = torch.zeros(2, batch, count, device=device)  # with the claiming and with the cheapest ground truth
    size = min(most, count)
    for rows in chunks(parallel * batch, truths, count):
        cost, overlap, allowed = costs(rows)
        allowed = allowed & usable[:, rows].unsqueeze(2)
        cost = torch.where(allowed, cost, torch.inf)
        best, truth = cost.min(1)
        nearer = best < cheapest  # strictly: of equal costs the earlier ground truth
        cheapest = torch.where(nearer, best, cheapest)
        cheapest_truth = torch.where(nearer, truth + rows.start, cheapest_truth)
        overlap_of[1] = torch.where(nearer, overlap.gather(1, truth.unsqueeze(1)).squeeze(1), overlap_of[1])
        chosen = _chosen(cost, torch.where(allowed, overlap, 0), size)
        number = chosen.sum(1)
        own = chosen.int().argmax(1)
        first = number > 0
        claims += number
        claimed_by = torch.where(first, own + rows.start, claimed_by)
        overlap_of[0] = torch.where(first, overlap.gather(1, own.unsqueeze(1)).squeeze(1), overlap_of[0])
    several = claims > 1
    index = torch.where(several, cheapest_truth, claimed_by)
    return index, torch.where(several, overlap_of[1], overlap_of[0])


def _chosen(cost: Tensor, overlap: Tensor, size: int) -> Tensor:
    """bool [B,S,N]: the cheapest of each ground truth, as many as its highest IoUs add up to."""
    wanted = overlap.topk(size, dim=2).values.sum(2).int().clamp(min=1)  # cut off, as in the release
    rows = extreme_rows(cost, size, largest=False)  # [B,S,size]
    finite = cost.gather(2, rows).isfinite()
    rank = torch.arange(size, device=cost.device)
    return torch.zeros_like(cost, dtype=torch.bool).scatter(2, rows, (rank < wanted.unsqueeze(2)) & finite)
