"""Exact non-maximum suppression of many images and classes at once.

Greedy suppression is a recurrence: a box is kept when no kept box before it, in order of score, overlaps it by more
than the threshold. Within a block the recurrence is solved by iterating it from "all kept" until nothing changes, which
takes as many rounds as the longest chain of suppressions, not as there are boxes. Groups are told apart by comparing or
sorting them, never by shifting coordinates: offsets cost up to 7e-3 of IoU in float32.

Two ways through, chosen by device: on the CPU only pairs of boxes of one group are looked at, so its shapes depend on
the data; elsewhere, and under ``torch.compile``, shapes are static and nothing waits for the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from detzoo.ops.boxes import area, iou_matrix
from detzoo.ops.ranking import may_look

BLOCK: Final = 512
"""Boxes of one group solved together on the CPU; later blocks meet only the kept boxes of earlier ones."""
STATIC_BLOCK: Final = 128
"""The same with static shapes, where a block costs one small kernel per box."""
MAX_PAIRS: Final = 1 << 21
"""Pairs whose IoU is computed at once on the CPU: 8 MB per intermediate."""


def nms_keep(boxes: Tensor, scores: Tensor, group: Tensor, *, iou: float, valid: Tensor | None = None) -> Tensor:
    """Which boxes greedy non-maximum suppression keeps.

    Args:
        boxes: float [B,N,4] xyxy px.
        scores: float [B,N]; of equal scores the earlier box goes first.
        group: int64 [B,N]: boxes of different groups (classes) never suppress each other.
        iou: a box that overlaps a better kept one of its group by more than this is removed.
        valid: bool [B,N]; invalid boxes are not kept and remove nothing.

    Returns:
        bool [B,N].

    Source: torchvision.ops.nms, IoU operation by operation; groups as its per-class loop, without the loop.
    """
    valid = torch.ones_like(scores, dtype=torch.bool) if valid is None else valid
    # the largest float32 not above the threshold decides as a comparison in float64 would
    threshold = _float32_at_most(iou)
    if may_look(boxes) and bool((scores[:, 1:] <= scores[:, :-1]).all()):
        return _keep_pairs(boxes, group, valid, threshold)  # sorted already, as post-processing hands them over
    order = scores.masked_fill(~valid, -math.inf).argsort(dim=1, descending=True, stable=True)
    valid = valid.gather(1, order)
    group = group.gather(1, order)
    boxes = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    if may_look(boxes):
        keep = _keep_pairs(boxes, group, valid, threshold)
    else:
        keep = _keep_static(boxes, group, valid, threshold)
    return torch.zeros_like(keep).scatter(1, order, keep)


def _float32_at_most(value: float) -> float:
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


def _keep_static(boxes: Tensor, group: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Boxes sorted by score -> kept, bool [B,N]; static shapes."""
    keep = valid
    for start in range(0, boxes.shape[1], STATIC_BLOCK):
        stop = min(start + STATIC_BLOCK, boxes.shape[1])
        block, block_group = boxes[:, start:stop], group[:, start:stop]
        over = iou_matrix(boxes[:, :stop], block) > threshold  # [B,stop,S]: row removes column
        over &= group[:, :stop].unsqueeze(2) == block_group.unsqueeze(1)
        alive = keep[:, start:stop] & ~(over[:, :start] & keep[:, :start].unsqueeze(2)).any(1)
        inner = over[:, start:].triu(1)
        for row in range(stop - start):
            alive = alive & ~(inner[:, row] & alive[:, row : row + 1])
        keep = torch.cat([keep[:, :start], alive, keep[:, stop:]], dim=1)
    return keep


def _keep_pairs(boxes: Tensor, group: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Boxes sorted by score -> kept, bool [B,N]; looks only at pairs within a group. Shapes depend on the data."""
    keep = torch.zeros_like(valid)
    where = valid.flatten().nonzero().squeeze(1)
    if where.numel() == 0:
        return keep
    # one segment per image and group, best box first within it: a stable sort leaves the order by score
    segment, order = _segments(group)[where].sort(stable=True)
    where = where[order]
    flat = boxes.reshape(-1, 4)[where]
    starts = _run_starts(segment)
    rank = torch.arange(segment.numel(), device=valid.device) - starts
    kept = torch.zeros_like(segment, dtype=torch.bool)
    for first in range(0, int(rank.max()) + 1, BLOCK):
        members = ((rank >= first) & (rank < first + BLOCK)).nonzero().squeeze(1) if rank.max() >= BLOCK else None
        _keep_block(flat, segment, kept, members, threshold)
    keep.view(-1)[where[kept]] = True
    return keep


def _keep_block(flat: Tensor, segment: Tensor, kept: Tensor, members: Tensor | None, threshold: float) -> None:
    """Decide ``members`` (all boxes where None), in place in ``kept`` bool [n]; better boxes are decided already."""
    if members is None:
        boxes, own = flat, segment
    else:
        before = kept.nonzero().squeeze(1)
        boxes, own = flat[members], segment[members]
        lo, hi = (torch.searchsorted(segment[before], own, right=right) for right in (False, True))
        hit, _ = _overlapping(boxes, flat[before], lo, hi - lo, threshold)
        free = torch.ones_like(own, dtype=torch.bool)
        free[hit] = False
        members, boxes, own = members[free], boxes[free], own[free]
    start = _run_starts(own)
    loser, winner = _overlapping(boxes, boxes, start, torch.arange(own.numel(), device=own.device) - start, threshold)
    alive = torch.ones_like(own, dtype=torch.bool)
    while loser.numel():
        solved = torch.ones_like(alive)
        solved[loser[alive[winner]]] = False
        if torch.equal(solved, alive):
            break
        alive = solved
    if members is None:
        kept.copy_(alive)
    else:
        kept[members] = alive


def _run_starts(values: Tensor) -> Tensor:
    """For each element of a sorted [n], the index at which its run of equal values begins."""
    places = torch.arange(values.numel(), device=values.device)
    fresh = torch.ones_like(values, dtype=torch.bool)
    fresh[1:] = values[1:] != values[:-1]
    return torch.where(fresh, places, 0).cummax(0).values


def _overlapping(
    boxes: Tensor, others: Tensor, start: Tensor, count: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Pairs (i, j) with IoU above the threshold; j runs over ``count[i]`` rows of ``others`` from ``start[i]``."""
    columns, other_columns = boxes.t().contiguous(), others.t().contiguous()
    areas, other_areas = area(boxes), area(others)
    ends = count.cumsum(0)
    found_i, found_j = [], []
    row, done = 0, 0
    while row < count.numel():
        # as many rows as fit the bound on pairs, one at least
        stop = max(row + 1, int(torch.searchsorted(ends, done + MAX_PAIRS, right=True)))
        i = torch.repeat_interleave(torch.arange(row, stop, device=count.device), count[row:stop])
        j = torch.arange(done, done + i.numel(), device=count.device) - (ends - count - start)[i]
        x1, y1, x2, y2 = columns.index_select(1, i).unbind(0)
        u1, v1, u2, v2 = other_columns.index_select(1, j).unbind(0)
        shared = (torch.minimum(x2, u2) - torch.maximum(x1, u1)).clamp_(min=0)
        shared *= (torch.minimum(y2, v2) - torch.maximum(y1, v1)).clamp_(min=0)
        over = (shared / (areas[i] + other_areas[j] - shared) > threshold).nonzero().squeeze(1)
        found_i.append(i[over])
        found_j.append(j[over])
        row, done = stop, int(ends[stop - 1])
    if not found_i:
        return start.new_zeros(0), start.new_zeros(0)
    return torch.cat(found_i), torch.cat(found_j)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    group: Tensor,
    *,
    method: Literal["gaussian", "linear"],
    sigma: float,
    iou: float,
    min_score: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Scores after each box has been weakened by the better boxes of its group.

    The box of highest present score is taken, the others of its group lose score by their IoU with it, and so on.
    Groups do not touch each other, so the CPU gives each a row of its own and takes one box of every row at once.

    Args:
        boxes: float [B,N,4] xyxy px.
        scores: float [B,N].
        group: int64 [B,N].
        method: ``gaussian``: times exp(-IoU² / sigma). ``linear``: times 1 - IoU where IoU exceeds ``iou``.
        sigma: width of the gaussian.
        iou: threshold of the linear method.
        min_score: scores that fall below become 0.
        valid: bool [B,N].

    Returns:
        float [B,N]; 0 where invalid or removed.

    Source: Bodla et al., Soft-NMS, ICCV 2017, figure 2.
    """
    valid = torch.ones_like(scores, dtype=torch.bool) if valid is None else valid
    scores = torch.where(valid & (scores >= min_score), scores, 0)

    def factor(overlap: Tensor) -> Tensor:
        return torch.exp(-(overlap.square() / sigma)) if method == "gaussian" else 1 - overlap * (overlap > iou)

    if not may_look(boxes):
        return _weaken(boxes, scores, group, factor, min_score)
    where = (scores > 0).flatten().nonzero().squeeze(1)
    segment, order = _segments(group)[where].sort(stable=True)
    where = where[order]
    column = torch.arange(where.numel()) - _run_starts(segment)
    row = (column == 0).cumsum(0) - 1
    shape = (int(row.max()) + 1, int(column.max()) + 1) if where.numel() else (0, 0)
    packed_boxes, packed = boxes.new_zeros(*shape, 4), scores.new_zeros(shape)
    packed_boxes[row, column] = boxes.flatten(0, 1)[where]
    packed[row, column] = scores.flatten()[where]
    packed = _weaken(packed_boxes, packed, packed.new_zeros(shape, dtype=torch.int64), factor, min_score)
    return torch.zeros_like(scores).flatten().index_copy(0, where, packed[row, column]).view_as(scores)


def _weaken(
    boxes: Tensor, scores: Tensor, group: Tensor, factor: Callable[[Tensor], Tensor], min_score: float
) -> Tensor:
    """Scores [R,S] after every box of a row, best first, has weakened those left in its group; 0 is no box."""
    pending = scores > 0
    for _ in range(boxes.shape[1]):
        leader = torch.where(pending, scores, -1.0).argmax(1, keepdim=True)  # [R,1], the first of equals
        active = pending.gather(1, leader)
        pending = pending.scatter(1, leader, False)
        overlap = iou_matrix(boxes.gather(1, leader.unsqueeze(2).expand(-1, -1, 4)), boxes).squeeze(1)
        touched = pending & active & (group == group.gather(1, leader))
        weakened = torch.where(touched, scores * factor(overlap), scores)
        scores = torch.where(touched & (weakened < min_score), 0, weakened)
        pending = pending & (scores > 0)
    return scores


def _segments(group: Tensor) -> Tensor:
    """int64 [B*N]: a number for each image and group."""
    if group.numel() == 0:
        return group.flatten()
    low = group.min()
    image = torch.arange(group.shape[0], device=group.device).unsqueeze(1)
    return (group - low + image * (group.max() - low + 1)).flatten()
