"""From overlaps to assignments, and from assignments to what each candidate should have said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from detzoo.ops.boxes import area, full_precision, iou_matrix
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import BACKGROUND, Assignment, Candidates, Targets

MAX_PAIRS: Final = 1 << 25
"""Overlaps held at once: 128 MB per intermediate, so that 16 images x 120,000 anchors x 100 boxes fit."""

CACHED_PAIRS: Final = 1 << 17
"""Overlaps computed at once on the CPU: 512 KB per intermediate, about a core's second-level cache."""


def matched_boxes(candidates: Candidates, targets: Targets, assignment: Assignment) -> Tensor:
    """The ground-truth box of every positive candidate; elsewhere a safe box of positive size.

    Unmatched rows get the candidate's own box before anything is encoded: masking a loss afterwards does not stop the
    NaN gradients of log(0). Use it with ``safe_candidates``, which makes the candidates' sides positive too.

    Args:
        candidates: [1 or B,N].
        targets: [B,M].
        assignment: [B,N].

    Returns:
        float32 [B,N,4] xyxy px.
    """
    own = safe_candidates(candidates).boxes.expand(*assignment.index.shape, 4)
    if targets.boxes.shape[1] == 0:  # gather cannot read from no rows
        return own
    row = assignment.index.clamp(min=0).unsqueeze(-1).expand(-1, -1, 4)
    return torch.where(assignment.positive.unsqueeze(-1), targets.boxes.gather(1, row), own)


def matched_labels(targets: Targets, assignment: Assignment) -> Tensor:
    """int64 [B,N]: the label of every positive candidate, BACKGROUND elsewhere."""
    if targets.labels.shape[1] == 0:
        return torch.full_like(assignment.index, BACKGROUND)
    labels = targets.labels.gather(1, assignment.index.clamp(min=0))
    return torch.where(assignment.positive, labels, BACKGROUND)


def matched_weights(targets: Targets, assignment: Assignment) -> Tensor | None:
    """float32 [B,N]: ``Targets.weight`` of each positive's ground truth, 1 elsewhere; None without weights."""
    if targets.weight is None:
        return None
    if targets.weight.shape[1] == 0:
        return torch.ones_like(assignment.index, dtype=targets.weight.dtype)
    return torch.where(assignment.positive, targets.weight.gather(1, assignment.index.clamp(min=0)), 1)


def safe_candidates(candidates: Candidates) -> Candidates:
    """The same candidates, with the unit box in place of boxes without area (padding), so that they can be encoded."""
    sound = (candidates.boxes[..., 2:] > candidates.boxes[..., :2]).all(-1, keepdim=True)
    # [0, 0, 1, 1], made on the device: a tensor from a list would be copied there, and waited for
    unit = (torch.arange(4, device=candidates.boxes.device) >= 2).to(candidates.boxes.dtype)
    return dataclasses.replace(candidates, boxes=torch.where(sound, candidates.boxes, unit))


def overlap_matrix(candidates: Candidates, targets: Targets, *, plus_one: bool = False) -> Tensor:
    """IoU of every usable ground truth with every valid candidate.

    Args:
        candidates: [1 or B,N].
        targets: [B,M].
        plus_one: count both edge pixels.

    Returns:
        float32 [B,M,N]; -1 for pairs that may not be matched. On the CPU the padding behind the last usable ground
        truth of the batch is left out, so M may be smaller.
    """
    truth, places = full_precision(targets.boxes), full_precision(candidates.boxes)
    usable = targets.usable
    if not allows_dynamic_shapes(truth):
        matrix = iou_matrix(truth, places, plus_one=plus_one)
        return matrix.masked_fill(~(usable.unsqueeze(2) & candidates.valid.unsqueeze(1)), -1.0)
    # only real ground truth is computed, a few rows at a time so that intermediates stay in the cache
    used = rows_used(usable)
    usable = usable[:, :used]
    matrix = truth.new_full((usable.shape[0], used, places.shape[1]), -1.0)
    if matrix.numel() == 0:
        return matrix
    image, row = usable.nonzero(as_tuple=True)
    flat, place = matrix.view(-1, places.shape[1]), image * used + row  # [B*M,N] and the rows of it in use
    for part in torch.split(torch.arange(image.numel()), max(1, CACHED_PAIRS // max(1, places.shape[1]))):
        boxes = truth[image[part], row[part]]
        if places.shape[0] == 1:
            flat[place[part]] = iou_matrix(boxes, places[0], plus_one=plus_one)
        else:
            flat[place[part]] = iou_matrix(boxes.unsqueeze(1), places[image[part]], plus_one=plus_one).squeeze(1)
    # anchors are all valid: one look spares a pass over the matrix
    return matrix if candidates.valid.all() else matrix.masked_fill_(~candidates.valid.unsqueeze(1), -1.0)


def rows_used(usable: Tensor) -> int:
    """Ground truths up to the last usable one of the batch, of bool [B,M]; all where looking would make us wait."""
    if not allows_dynamic_shapes(usable):
        return usable.shape[1]
    return int((usable.any(0) * torch.arange(1, usable.shape[1] + 1)).amax()) if usable.numel() else 0


def truth_by_truth(
    candidates: Candidates, targets: Targets, *, plus_one: bool = False
) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """The valid candidates that each usable ground truth touches: for the CPU, where intermediates stay in the cache.

    Args:
        candidates: [1 or B,N].
        targets: [B,M].
        plus_one: count both edge pixels.

    Yields:
        image, row of the ground truth, candidates int64 [k] ascending, and their IoU float32 [k] as ``iou_matrix``
        gives it.
    """
    places = full_precision(candidates.boxes)
    # [.,4,N]: reads x1 in one run
    columns, areas = places.transpose(1, 2).contiguous(), area(places, plus_one=plus_one)
    extra = 1.0 if plus_one else 0.0
    valid = None if candidates.valid.all() else candidates.valid.expand(targets.boxes.shape[0], -1)
    truth = full_precision(targets.boxes)
    truth_areas = area(truth, plus_one=plus_one)
    for image, row in targets.usable.nonzero().tolist():
        own = image % places.shape[0]  # 0 where all images share the candidates
        x1, y1, x2, y2 = columns[own]
        # numbers, not tensors: clamp with bounds needs no broadcast
        left, top, right, bottom = truth[image, row].tolist()
        width = x2.clamp(max=right).sub_(x1.clamp(min=left)).add_(extra).clamp_(min=0)
        height = y2.clamp(max=bottom).sub_(y1.clamp(min=top)).add_(extra).clamp_(min=0)
        shared = width.mul_(height)
        near = torch.from_numpy(np.flatnonzero((shared > 0).numpy()))  # few of 100,000 anchors touch one object
        if valid is not None:
            near = near[valid[image, near]]
        shared = shared[near]
        union = (areas[own, near] + float(truth_areas[image, row])).sub_(shared)
        yield image, row, near, shared / union.clamp_(min=torch.finfo(union.dtype).tiny)


def best_candidates(overlaps: Tensor) -> tuple[Tensor, Tensor]:
    """Highest overlap of each ground truth and the first candidate that has it, each [B,M], of [B,M,N]."""
    if not allows_dynamic_shapes(overlaps):
        best, place = overlaps.max(dim=2)
        return best, place
    # NumPy searches a row with vector instructions, which torch does not
    place = torch.from_numpy(overlaps.numpy().argmax(axis=2))
    return overlaps.gather(2, place.unsqueeze(2)).squeeze(2), place


def best_truths(overlaps: Tensor, wanted: Tensor) -> Tensor:
    """The first ground truth that has a candidate's highest overlap, where wanted; any row elsewhere.

    Args:
        overlaps: float [B,M,N].
        wanted: bool [B,N]; few are true, so the CPU searches only those columns.

    Returns:
        int64 [B,N].
    """
    # elsewhere a search of every column costs less than waiting for the count
    if not allows_dynamic_shapes(overlaps):
        return overlaps.argmax(dim=1)
    image, column = wanted.nonzero(as_tuple=True)
    found = torch.zeros_like(wanted, dtype=torch.int64)
    found[image, column] = overlaps[image, :, column].argmax(dim=1)
    return found


@dataclasses.dataclass(frozen=True)
class CandidateRows(Candidates):
    """Chosen rows of candidates as one image [1,P]; each remembers the stride of the level that it came from."""

    row_strides: Tensor | None = None

    def strides(self) -> Tensor:
        """float32 [P] network px per cell."""
        return super().strides() if self.row_strides is None else self.row_strides


def of_classes(candidates: Candidates, labels: Tensor) -> Candidates:
    """The same candidates, with their coder as it writes boxes of classes ``labels`` int64 [1 or B,N]."""
    if candidates.coder is None:
        return candidates
    return dataclasses.replace(candidates, coder=candidates.coder.of_classes(labels))


def candidate_rows(candidates: Candidates, image: Tensor, row: Tensor) -> CandidateRows:
    """Rows ``row`` int64 [P] of images ``image`` int64 [P], as candidates [1,P]."""
    shared = torch.zeros_like(image) if candidates.boxes.shape[0] == 1 else image  # anchors: one set for all images
    boxes = candidates.boxes[shared, row].unsqueeze(0)
    valid = candidates.valid.expand(candidates.boxes.shape[0], -1)[shared, row].unsqueeze(0)
    return CandidateRows(boxes, valid, coder=candidates.coder, row_strides=candidates.strides()[row])


def greedy_bipartite(overlaps: Tensor, usable: Tensor, *, least: float = 1e-6) -> Tensor:
    """The candidate that each ground truth gets when pairs are taken best first and both leave the pool.

    Args:
        overlaps: float [B,M,N] IoU.
        usable: bool [B,M]: ground truth that may be matched.
        least: pairs that overlap less are never taken.

    Returns:
        int64 [B,M]: a candidate, all different within an image; -1 where there is none.

    Source: Caffe SSD, ``MatchBBox`` with BIPARTITE in bbox_util.cpp; equal pairs go to the first candidate, then the
    first ground truth.
    """
    batch, truths, count = overlaps.shape
    found = torch.full((batch, truths), -1, dtype=torch.int64, device=overlaps.device)
    if truths == 0 or count == 0:
        return found
    best, place = best_candidates(overlaps)  # [B,M]
    best = best.masked_fill(~usable, -1.0)
    waiting = best >= least
    eager = allows_dynamic_shapes(overlaps)
    if eager and not _contested(place, waiting):
        return torch.where(waiting, place, -1)
    taken = torch.zeros(batch, count, dtype=torch.bool, device=overlaps.device)  # [B,N]
    # one pair per image and round; no host wait elsewhere
    for _ in range(int(waiting.sum(1).max()) if eager else truths):
        top = best.masked_fill(~waiting, -1.0)
        tied = top == top.amax(1, keepdim=True)
        # of tied pairs the lower candidate, as Caffe's loop meets them
        first = torch.where(tied, place, count).argmin(1, keepdim=True)  # [B,1]
        active = waiting.gather(1, first)
        chosen = place.gather(1, first)
        found = torch.where(torch.zeros_like(waiting).scatter(1, first, active), chosen, found)
        waiting = waiting.scatter(1, first, False)
        taken = taken.scatter(1, chosen, taken.gather(1, chosen) | active)
        robbed = waiting & active & (place == chosen)
        if eager:  # few rows lose their best candidate: only those are read again
            rows = robbed.nonzero(as_tuple=True)
            left, where = overlaps[rows].masked_fill(taken[rows[0]], -1.0).max(1)
            best[rows], place[rows] = left, where
        else:
            left, where = overlaps.masked_fill(taken.unsqueeze(1), -1.0).max(2)
            best, place = torch.where(robbed, left, best), torch.where(robbed, where, place)
        waiting = waiting & (best >= least)
    return found


def _contested(place: Tensor, waiting: Tensor) -> bool:
    """Whether two waiting rows of one image want the same candidate."""
    # rows that do not wait get numbers of their own below 0, so they never look alike
    wanted = torch.where(waiting, place, -1 - torch.arange(place.shape[1], device=place.device)).sort(1).values
    return bool((wanted[:, 1:] == wanted[:, :-1]).any())


def chunks(batch: int, truths: int, count: int) -> list[slice]:
    """Slices of the ground truths such that [B,slice,N] holds at most MAX_PAIRS numbers, one row at least."""
    step = max(1, MAX_PAIRS // max(1, batch * count))
    return [slice(start, min(start + step, truths)) for start in range(0, truths, step)]
