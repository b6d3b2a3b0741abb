"""Ground truths claim candidates; a candidate that several claim goes to the one that it overlaps most.

M ground truths; S candidates that each of them looks at.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.ops.boxes import full_precision
from detzoo.ops.ranking import gather_rows
from detzoo.types import BACKGROUND, Candidates, Predictions

INSIDE: Final = 0.01
"""px that a candidate's centre must lie within its ground truth, from every edge: that of ATSS' and TOOD's releases."""


def settled(rows: Tensor, claimed: Tensor, overlap: Tensor, count: int) -> Tensor:
    """The ground truth of every candidate.

    Args:
        rows: int64 [B,M,S], which candidates each ground truth looks at; all of a row differ.
        claimed: bool [B,M,S], those that it claims.
        overlap: float [B,M,S] in [0,1], by which rival claims are judged; of equal ones the first ground truth wins.
        count: N.

    Returns:
        int64 [B,N]: a ground truth, or BACKGROUND where nobody claims.
    """
    batch, truths = rows.shape[:2]
    place = rows.flatten(1)
    value = torch.where(claimed, overlap, -1).flatten(1)  # below every IoU: it outbids no claim
    highest = value.new_full((batch, count), -1).scatter_reduce(1, place, value, "amax")
    wins = claimed.flatten(1) & (value == highest.gather(1, place))
    truth = torch.arange(truths, device=rows.device).view(1, truths, 1).expand_as(rows).flatten(1)
    first = torch.full((batch, count), truths, device=rows.device)  # one past the last ground truth: nobody
    # ties by order: reproducible on CUDA
    first = first.scatter_reduce(1, place, torch.where(wins, truth, truths), "amin")
    return torch.where(first < truths, first, BACKGROUND)


def centres_inside(candidates: Candidates, rows: Tensor, boxes: Tensor) -> Tensor:
    """Whether the middles of candidates ``rows`` int64 [B,M,S] lie inside ``boxes`` float [B,M,4]: bool [B,M,S]."""
    places = boxes_of(candidates, rows)
    middle, truth = (places[..., :2] + places[..., 2:]) / 2, full_precision(boxes).unsqueeze(2)
    return torch.cat([middle - truth[..., :2], truth[..., 2:] - middle], dim=-1).amin(-1) > INSIDE


def boxes_of(candidates: Candidates, rows: Tensor) -> Tensor:
    """float32 [B,M,S,4] of candidates ``rows`` int64 [B,M,S]."""
    return gather_rows(full_precision(candidates.boxes), rows.flatten(1)).view(*rows.shape, 4)


def predicted_boxes(predictions: Predictions, candidates: Candidates) -> Tensor:
    """float32 [B,N,4] xyxy px: what matchers that judge predictions compare with the ground truth.

    Raises:
        RecipeError: there is one box per class.
    """
    if predictions.deltas.shape[2] != 1:
        raise RecipeError("the head predicts one box per class; the matcher needs one box for all classes")
    deltas = full_precision(predictions.deltas[:, :, 0])
    if candidates.coder is None:
        return full_precision(candidates.boxes).expand(*deltas.shape[:2], 4)
    return candidates.coder.decode(deltas, candidates.boxes, candidates.strides())
