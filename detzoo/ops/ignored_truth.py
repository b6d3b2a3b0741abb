"""Ground truth flagged ``ignore`` (crowds, difficult boxes): the candidates on it leave the loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from detzoo.ops.boxes import area, full_precision, intersection_matrix, iou_matrix
from detzoo.ops.matching import chunks
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import BACKGROUND, IGNORE, Candidates, Targets


def leave_out_ignored(
    index: Tensor,
    candidates: Candidates,
    targets: Targets,
    *,
    by: Literal["iou", "area"] = "area",
    threshold: float = 0.5,
) -> Tensor:
    """The last step of a matcher: what may not be background after all.

    Args:
        index: int64 [B,N], as in ``Assignment``.
        candidates: [1 or B,N].
        targets: [B,M].
        by: see ``overlaps_ignored``.
        threshold: likewise.

    Returns:
        int64 [B,N]: IGNORE for background candidates that lie on ground truth flagged ``ignore``, and for invalid
        candidates. Positives stay: ground truth that is wanted outweighs a crowd around it.
    """
    ignored = overlaps_ignored(candidates, targets, by=by, threshold=threshold)
    index = torch.where(ignored & (index == BACKGROUND), IGNORE, index)
    return torch.where(candidates.valid, index, IGNORE)


def overlaps_ignored(
    candidates: Candidates, targets: Targets, *, by: Literal["iou", "area"], threshold: float
) -> Tensor:
    """Candidates that lie on ground truth flagged ``ignore``.

    Args:
        candidates: [1 or B,N].
        targets: [B,M].
        by: ``iou``, or ``area``: the part of the candidate that the ground truth covers, as COCO judges crowds.
        threshold: overlap from which a candidate counts.

    Returns:
        bool [B,N].
    """
    flagged = targets.valid & targets.ignore
    batch, count = flagged.shape[0], candidates.boxes.shape[1]
    found = torch.zeros(batch, count, dtype=torch.bool, device=flagged.device)
    if allows_dynamic_shapes(flagged) and not flagged.any():
        return found  # most batches: the CPU may read the data
    places = full_precision(candidates.boxes)
    for rows in chunks(batch, flagged.shape[1], count):
        truth = full_precision(targets.boxes[:, rows])
        if by == "iou":
            overlap = iou_matrix(truth, places)
        else:
            own = area(places).unsqueeze(1)
            # padding has no area: 0, not NaN
            overlap = intersection_matrix(truth, places) / torch.where(own > 0, own, 1)
        found |= ((overlap >= threshold) & flagged[:, rows].unsqueeze(2)).any(1)
    return found
