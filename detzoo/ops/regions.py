"""Regions of a batch: adding to them, thinning them out, and cutting the padding off.

Letters: B images, P regions (padded), M ground truths (padded).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from detzoo.ops.ranking import allows_dynamic_shapes, gather_rows
from detzoo.types import IGNORE, Assignment, Candidates, DetectionBatch, Targets


def append_ground_truth(rois: Candidates, targets: Targets) -> Candidates:
    """Regions [B,P+M]: the given ones, then every usable ground-truth box, so that no object lacks a positive.

    Source: py-faster-rcnn's proposal_target_layer; torchvision ``RoIHeads.add_gt_proposals``.
    """
    boxes = torch.cat([rois.boxes, targets.boxes.to(rois.boxes.dtype)], dim=1)
    return Candidates(boxes, torch.cat([rois.valid, targets.usable], dim=1), coder=rois.coder)


def compact(rois: Candidates, assignment: Assignment, size: int | None) -> tuple[Candidates, Assignment]:
    """Only the regions that take part in the loss, positives first; at most ``size`` of each image.

    Args:
        rois: [B,P].
        assignment: [B,P]; IGNORE takes no part.
        size: regions per image at most, None for all.

    Returns:
        regions [B,S] and their assignment. On the CPU S is the largest number that takes part in an image, elsewhere
        ``size``; rows that are left over are invalid and IGNORE.
    """
    rank = (assignment.index != IGNORE).long() + assignment.positive.long()  # 2 positive, 1 negative, 0 ignored
    count = rois.boxes.shape[1] if size is None else min(size, rois.boxes.shape[1])
    if allows_dynamic_shapes(rois.boxes):
        count = min(count, _most(rank > 0))
    chosen = rank.argsort(dim=1, descending=True, stable=True)[:, :count]  # stable: the sampler's order is reproducible
    index = assignment.index.gather(1, chosen)
    overlap, quality = (
        None if one is None else gather_rows(one, chosen) for one in (assignment.overlap, assignment.quality)
    )
    kept = Candidates(gather_rows(rois.boxes, chosen), index != IGNORE, coder=rois.coder)
    return kept, Assignment(index, overlap, quality)


def first_positives(rois: Candidates, assignment: Assignment, most: int | None) -> tuple[Candidates, Assignment]:
    """The positives alone, of regions that stand with positives first.

    Args:
        rois: [B,S].
        assignment: [B,S].
        most: positives of an image at most, where that is known.

    Returns:
        regions [B,Q] and their assignment; rows that are no positives are invalid.
    """
    count = rois.boxes.shape[1] if most is None else min(most, rois.boxes.shape[1])
    if allows_dynamic_shapes(rois.boxes):
        count = min(count, _most(assignment.positive))
    index = assignment.index[:, :count]
    kept = Candidates(rois.boxes[:, :count], index >= 0, coder=rois.coder)
    return kept, Assignment(torch.where(index >= 0, index, IGNORE))  # a negative has no mask to learn


def trim(rois: Candidates) -> Candidates:
    """Without the padding behind the last valid region of the batch; as they are where looking would make us wait."""
    if not allows_dynamic_shapes(rois.boxes):
        return rois
    count = _last(rois.valid)  # the last of the whole batch: images keep one shape
    return dataclasses.replace(
        rois,
        boxes=rois.boxes[:, :count],
        valid=rois.valid[:, :count],
        scores=None if rois.scores is None else rois.scores[:, :count],
        labels=None if rois.labels is None else rois.labels[:, :count],
    )


def trim_detections(found: DetectionBatch) -> DetectionBatch:
    """The same for detections, which have no masks yet."""
    if not allows_dynamic_shapes(found.boxes):
        return found
    count = _last(found.valid)
    return DetectionBatch(
        found.boxes[:, :count], found.scores[:, :count], found.labels[:, :count], found.valid[:, :count]
    )


def _most(mask: Tensor) -> int:
    """The largest number of true entries in a row of bool [B,P]."""
    return int(mask.sum(1).max()) if mask.numel() else 0


def _last(mask: Tensor) -> int:
    """One more than the last true column of bool [B,P]."""
    columns = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return int((mask.any(0) * columns).max()) if mask.numel() else 0
