"""Exact non-maximum suppression of many images and classes at once.

Greedy suppression is a recurrence: a box is kept when no kept box before it, in order of score, overlaps it by more
than the threshold. Within a block the recurrence is solved by iterating it from "all kept" until nothing changes, which
takes as many rounds as the longest chain of suppressions, not as there are boxes. Groups are separated by comparing or
sorting them, never by shifting the coordinates that IoU is computed from: that costs up to 7e-3 of IoU in float32.

Four ways through. On the CPU few boxes go through torchvision's kernel at once (``shifted_nms.py``). Of many, only
pairs are looked at that are of one group and near enough to each other, so shapes depend on the data; where nearly all
are near, as with an untrained detector, torchvision's loop over a group is faster and decides the same. On other
devices shapes are static, and the host is waited for once in some rounds. Under ``torch.compile`` nothing waits: the
recurrence runs box by box. ``torch.export`` sees one node (``exported.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from detzoo.ops.boxes import area, iou_matrix
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.ops.shifted_nms import keep_shifted

BLOCK: Final = 1024
"""Boxes of one group solved together; later blocks meet only the kept boxes of earlier ones."""
COMPILED_BLOCK: Final = 128
"""The same under the compiler, where a block costs one small kernel per box."""
MAX_PAIRS: Final = 1 << 17
"""Pairs whose IoU is computed at once on the CPU: 512 KB per intermediate, about a core's second-level cache."""
CROWDED: Final = 0.25
"""Share of a block's pairs that are near each other, from which on torchvision's loop is faster, but for its calls."""
CALL: Final = 1600
"""Pairs that are looked at in the time of one such call."""
ROUNDS: Final = 8
"""Rounds between two looks at whether anything still changes, on devices for which the host waits."""


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
    if torch.compiler.is_exporting():
        from detzoo.ops import exported

        kept: Tensor = exported.nms_keep(boxes, scores, group, valid, iou)
        return kept
    # the largest float32 not above the threshold decides as a comparison in float64 would
    threshold = float32_at_most(iou)
    if allows_dynamic_shapes(boxes) and bool((scores[:, 1:] <= scores[:, :-1]).all()):
        return _keep_sorted(boxes, group, valid, threshold)  # sorted already, as post-processing hands them over
    order = scores.masked_fill(~valid, -math.inf).argsort(dim=1, descending=True, stable=True)
    valid = valid.gather(1, order)
    group = group.gather(1, order)
    boxes = boxes.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    if allows_dynamic_shapes(boxes):
        keep = _keep_sorted(boxes, group, valid, threshold)
    else:
        keep = _keep_static(boxes, group, valid, threshold)
    return torch.zeros_like(keep).scatter(1, order, keep)


def float32_at_most(value: float) -> float:
    """The largest float32 that is no larger."""
    near = np.float32(value)  # rounds to nearest, so maybe upwards
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-np.inf)))


def _keep_static(boxes: Tensor, group: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Boxes sorted by score -> kept, bool [B,N]; static shapes."""
    keep = valid
    size, settle = (COMPILED_BLOCK, _box_by_box) if torch.compiler.is_compiling() else (BLOCK, _by_rounds)
    for start in range(0, boxes.shape[1], size):
        stop = min(start + size, boxes.shape[1])
        block, block_group = boxes[:, start:stop], group[:, start:stop]
        over = iou_matrix(boxes[:, :stop], block) > threshold  # [B,stop,S]: row removes column
        over &= group[:, :stop].unsqueeze(2) == block_group.unsqueeze(1)  # compared, not shifted: no IoU changes
        free = keep[:, start:stop] & ~(over[:, :start] & keep[:, :start].unsqueeze(2)).any(1)
        # strict upper triangle: only a better box removes; cat, not assignment, for the compiler
        keep = torch.cat([keep[:, :start], settle(over[:, start:].triu(1), free), keep[:, stop:]], dim=1)
    return keep


def _box_by_box(over: Tensor, alive: Tensor) -> Tensor:
    """Kept [B,S] of ``alive`` bool [B,S]; ``over`` bool [B,S,S] says which row would remove which later column."""
    for row in range(alive.shape[1]):
        alive = alive & ~(over[:, row] & alive[:, row : row + 1])
    return alive


def _by_rounds(over: Tensor, free: Tensor) -> Tensor:
    """As ``_box_by_box``; the host looks whether it may stop."""
    alive, before = free, ~free
    while not torch.equal(alive, before):  # the only wait for the device, once in ROUNDS
        for _ in range(ROUNDS):
            before, alive = alive, free & ~(over & alive.unsqueeze(2)).any(1)
    return alive


def _keep_sorted(boxes: Tensor, group: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Boxes sorted by score -> kept, bool [B,N]; shapes depend on the data."""
    keep = keep_shifted(boxes, group, valid, threshold)
    return _keep_pairs(boxes, group, valid, threshold) if keep is None else keep


def _keep_pairs(boxes: Tensor, group: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """As ``_keep_sorted``; looks only at pairs that may overlap."""
    keep = torch.zeros_like(valid)
    where = valid.flatten().nonzero().squeeze(1)
    if where.numel() == 0:
        return keep
    # one segment per image and group, best box first within it: a stable sort leaves the order by score
    segment, order = _segments(group)[where].sort(stable=True)
    where = where[order]
    rank = torch.arange(segment.numel(), device=valid.device) - _run_starts(segment)
    line = _Line.of(boxes.reshape(-1, 4)[where], segment)
    first = (rank < BLOCK).nonzero().squeeze(1)
    # torchvision's loop makes something else of boxes that are not finite
    if line.rows(first).crowded(segment[first], threshold) and bool(line.boxes.isfinite().all()):
        kept = _one_segment_at_a_time(line.boxes, segment, threshold)
    else:
        kept = _block_by_block(line, rank, threshold)
    keep.view(-1)[where[kept]] = True
    return keep


def _one_segment_at_a_time(boxes: Tensor, segment: Tensor, threshold: float) -> Tensor:
    """Kept, bool [n], in torchvision's loop over the boxes of a segment, which passes over what is removed already."""
    from torchvision.ops import nms

    sizes = torch.unique_consecutive(segment, return_counts=True)[1].tolist()
    falling = torch.arange(max(sizes), 0, -1, dtype=boxes.dtype)  # in place of the scores: sorted already
    kept = torch.zeros_like(segment, dtype=torch.bool)
    start = 0
    for size in sizes:
        kept[start + nms(boxes[start : start + size], falling[:size], threshold)] = True
        start += size
    return kept


def _block_by_block(line: _Line, rank: Tensor, threshold: float) -> Tensor:
    """Kept, bool [n], by the pairs of boxes that are near each other; ``rank`` counts the boxes of a segment."""
    kept = torch.zeros_like(rank, dtype=torch.bool)
    for first in range(0, int(rank.max()) + 1, BLOCK):
        members = ((rank >= first) & (rank < first + BLOCK)).nonzero().squeeze(1)
        block = line.rows(members)
        if first:
            free = torch.ones_like(members, dtype=torch.bool)
            free[block.removed_by(line.rows(kept.nonzero().squeeze(1)), threshold)] = False
            members, block = members[free], block.rows(free.nonzero().squeeze(1))
        kept[members] = _solved(*block.conflicts(threshold), members.numel())
    return kept


def _solved(loser: Tensor, winner: Tensor, count: int) -> Tensor:
    """Kept, bool [count], where box ``winner[k]`` would remove the later box ``loser[k]``."""
    removed = torch.zeros(count, dtype=torch.bool, device=loser.device)
    while loser.numel():
        threatened = torch.zeros_like(removed)
        threatened[loser] = True
        # a box that nothing threatens stays; what it removes is settled, and what those threatened is not theirs
        removed[loser[~threatened[winner]]] = True
        open_ = (~(removed[winner] | removed[loser])).nonzero().squeeze(1)
        loser, winner = loser[open_], winner[open_]
    return ~removed


@dataclass(frozen=True)
class _Line:
    """Boxes laid out by their left edges, the segments far apart, so that those near a box are a run of neighbours.

    IoU is at most the shared width over the width of either box. So where it exceeds t, left edges lie less than
    (1 - t) times the width of the left box apart, which is less than (1 - t) / t times the width of the right one.

    Args:
        boxes: float [n,4] xyxy px.
        place: float64 [n]: the left edges, shifted from segment to segment; only used to find neighbours.
        span: more than any two left edges of a segment lie apart; half of what separates two segments.
    """

    boxes: Tensor
    place: Tensor
    span: float

    @classmethod
    def of(cls, boxes: Tensor, segment: Tensor) -> _Line:
        """Lay out boxes [n,4] whose ``segment`` numbers [n] are sorted."""
        left = boxes[:, 0].double().nan_to_num(0, 0, 0)  # boxes that are not finite overlap nothing
        fresh = torch.zeros_like(segment)
        fresh[1:] = segment[1:] != segment[:-1]
        left = left - left.min()
        span = 1 + float(left.max())
        return cls(boxes, left + fresh.cumsum(0) * (3 * span), span)

    def rows(self, index: Tensor) -> _Line:
        """Some of the boxes."""
        return _Line(self.boxes[index], self.place[index], self.span)

    def reach(self, share: float) -> Tensor:
        """float64 [n] px: ``share`` of each box's width and a little more, against rounding; within the segment."""
        width = (self.boxes[:, 2] - self.boxes[:, 0]).double().nan_to_num(0, self.span, 0)
        slack = float(self.place.max()) * 1e-15 if self.place.numel() else 0.0
        return (width * (share + 1e-5) + slack).clamp_(0, self.span)

    def crowded(self, segment: Tensor, threshold: float) -> bool:
        """Whether so many boxes of a segment are near each other that a loop over them is faster."""
        near = int(self._neighbours(threshold)[2].sum())
        sizes = torch.unique_consecutive(segment, return_counts=True)[1]
        return near > CROWDED * int((sizes * (sizes - 1)).sum()) / 2 + CALL * len(sizes)

    def conflicts(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Pairs of boxes that overlap, the later one first, each int64 [pairs]."""
        order, start, count = self._neighbours(threshold)
        ordered = self.boxes[order]
        one, other = _overlapping(ordered, ordered, start, count, threshold)
        one, other = order[one], order[other]
        return torch.maximum(one, other), torch.minimum(one, other)

    def _neighbours(self, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """By their left edges: which box, the first neighbour to its right, and how many; int64 [n] each."""
        place, order = self.place.sort()
        start = torch.arange(1, order.numel() + 1, device=order.device)
        stop = torch.searchsorted(place, place + self.rows(order).reach(1 - threshold), right=True)
        return order, start, stop - start

    def removed_by(self, others: _Line, threshold: float) -> Tensor:
        """int64 [pairs]: the boxes that overlap any of the others, repeated."""
        place, order = others.place.sort()
        before = self.reach((1 - threshold) / max(threshold, 1e-6))
        start = torch.searchsorted(place, self.place - before)
        stop = torch.searchsorted(place, self.place + self.reach(1 - threshold), right=True)
        return _overlapping(self.boxes, others.boxes[order], start, stop - start, threshold)[0]


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
    shift = start - ends + count
    found_i, found_j = [], []
    row, done = 0, 0  # rows and pairs behind us
    while row < count.numel():
        # as many rows as fit the bound on pairs, one at least
        stop = max(row + 1, int(torch.searchsorted(ends, done + MAX_PAIRS, right=True)))
        i = torch.repeat_interleave(torch.arange(row, stop, device=count.device), count[row:stop])
        j = torch.arange(done, done + i.numel(), device=count.device) + shift.index_select(0, i)
        x1, y1, x2, y2 = columns.index_select(1, i).unbind(0)
        u1, v1, u2, v2 = other_columns.index_select(1, j).unbind(0)
        shared = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1)).clamp_(min=0)
        shared *= torch.minimum(y2, v2).sub_(torch.maximum(y1, v1)).clamp_(min=0)
        union = areas.index_select(0, i).add_(other_areas.index_select(0, j)).sub_(shared)
        over = (shared.div_(union) > threshold).nonzero().squeeze(1)  # 0 / 0 of two empty boxes is NaN, and no overlap
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
    if torch.compiler.is_exporting():
        from detzoo.ops import exported

        weakened: Tensor = exported.soft_nms(boxes, scores, group, valid, method, sigma, iou, min_score)
        return weakened
    scores = torch.where(valid & (scores >= min_score), scores, 0)  # 0 is how _weaken knows that there is no box

    def factor(overlap: Tensor) -> Tensor:
        return torch.exp(-(overlap.square() / sigma)) if method == "gaussian" else 1 - overlap * (overlap > iou)

    if not allows_dynamic_shapes(boxes):  # packing by group needs counts that the host would wait for
        return _weaken(boxes, scores, group, factor, min_score)
    where = (scores > 0).flatten().nonzero().squeeze(1)
    segment, order = _segments(group)[where].sort(stable=True)
    where = where[order]
    column = torch.arange(where.numel()) - _run_starts(segment)
    row = (column == 0).cumsum(0) - 1  # each segment is a row of its own
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
        active = pending.gather(1, leader)  # False once a row has no box left: argmax then points anywhere
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
    return (group - low + image * (group.max() - low + 1)).flatten()  # groups may start anywhere, below 0 too
