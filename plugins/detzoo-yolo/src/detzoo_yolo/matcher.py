"""YOLOv2's and v3's matcher: every object has one anchor, and boxes that fit an object well are left alone.

Letters: B images, N candidates, M ground truths, A anchors of all levels.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou_matrix, sides
from detzoo.ops.ignored_truth import overlaps_ignored
from detzoo.ops.matching import chunks
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]


class YoloBestAnchor(Matcher):
    """The cell of an object's centre, and there the anchor, of all levels, whose shape fits best.

    Shapes are compared by the IoU of boxes on a common centre; of equal anchors the first counts. Where two objects
    want one anchor of one cell, the later one has it.

    Args:
        ignore_threshold: a candidate whose *predicted* box overlaps any object by more than this is no negative:
            0.7 in v3, 0.6 in v2; null: all are.
        also: anchors that overlap an object's shape by more than this are positive too (AlexeyAB's ``iou_thresh``);
            null: the best one alone.
        min_side: objects narrower or lower than this part of the network input are not matched; darknet 0.001.
        ignore_by: how candidates upon difficult or crowd boxes are found, which darknet does not know: by ``iou``, or
            by the ``area`` of the anchor that is covered.
        ignore_overlap: from which they are ignored.

    Source: YOLO9000, section 2; YOLOv3, section 2.1; darknet, yolo_layer.c and region_layer.c with ``bias_match``.
    """

    needs = frozenset({Feature.LEVELS, Feature.ONE_BOX})

    def __init__(
        self,
        *,
        ignore_threshold: Fraction | None = 0.7,
        also: Fraction | None = None,
        min_side: Fraction = 0.001,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_overlap: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.ignore_threshold = ignore_threshold
        self.also = also
        self.min_side = min_side
        self.ignore_by: Literal["iou", "area"] = ignore_by
        self.ignore_overlap = ignore_overlap

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign [B,N]."""
        if not candidates.levels:
            raise RecipeError("matcher yolo_best_anchor needs the anchors of a dense head, found regions")
        shape = targets.boxes.shape[0], candidates.boxes.shape[1]
        index = torch.full(shape, BACKGROUND, dtype=torch.int64, device=targets.boxes.device)
        ignored = overlaps_ignored(candidates, targets, by=self.ignore_by, threshold=self.ignore_overlap)
        if predictions is not None and self.ignore_threshold is not None:
            ignored |= fits_an_object(candidates, targets, predictions, self.ignore_threshold)  # YOLOv3, section 2.1
        index = torch.where(ignored, IGNORE, index)
        owner = self.owners(candidates, targets, index)
        index = torch.where(owner >= 0, owner, index)  # after ignoring: an object's own anchor is never ignored
        return Assignment(torch.where(candidates.valid, index, IGNORE))

    def owners(self, candidates: Candidates, targets: Targets, like: Tensor) -> Tensor:
        """int64 [B,N]: the object that a candidate answers for, -1 where there is none."""
        shapes, cells = _anchors(candidates), _places(candidates, targets)  # [A,2], [B,M,A]
        usable = targets.usable & self.large_enough(candidates, targets)
        width, height = sides(full_precision(targets.boxes))
        fit = shape_iou(torch.stack([width, height], -1), shapes)  # [B,M,A]
        chosen = torch.zeros_like(fit, dtype=torch.bool).scatter(2, fit.argmax(2, keepdim=True), True)
        if self.also is not None:
            chosen |= fit > self.also
        rows = torch.arange(fit.shape[1], device=fit.device)[None, :, None]
        owner = torch.where(chosen & usable.unsqueeze(2), rows, -1)
        # the largest row is the last object, whatever the order in which the device writes
        return torch.full_like(like, -1).scatter_reduce(1, cells.flatten(1), owner.flatten(1), "amax")

    def large_enough(self, candidates: Candidates, targets: Targets) -> Tensor:
        """bool [B,M]."""
        level = candidates.levels[0]
        width, height = sides(targets.boxes)
        wide, tall = level.width * level.stride, level.height * level.stride
        return (width > 0) & (height > 0) & (width >= self.min_side * wide) & (height >= self.min_side * tall)


def shape_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU [...,N,A] of sides [...,N,2] and [A,2], boxes on a common centre."""
    shared = torch.minimum(first.unsqueeze(-2), second).prod(-1)
    union = first.prod(-1).unsqueeze(-1) + second.prod(-1) - shared
    return shared / union.clamp(min=torch.finfo(union.dtype).tiny)


def fits_an_object(candidates: Candidates, targets: Targets, predictions: Predictions, threshold: float) -> Tensor:
    """bool [B,N]: the predicted box overlaps some object by more than ``threshold``."""
    assert candidates.coder is not None
    deltas = predictions.deltas[:, :, 0].detach()
    boxes = candidates.coder.decode(deltas, candidates.boxes.expand(len(deltas), -1, -1), candidates.strides())
    found = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    truths, usable = full_precision(targets.boxes), targets.usable
    for rows in chunks(len(found), truths.shape[1], found.shape[1]):
        overlap = iou_matrix(truths[:, rows], boxes)  # [B,m,N]
        found |= ((overlap > threshold) & usable[:, rows].unsqueeze(2)).any(1)
    return found


def _anchors(candidates: Candidates) -> Tensor:
    """float32 [A,2] (width, height) of the anchors of one cell of each level."""
    boxes, start, found = full_precision(candidates.boxes[0]), 0, []
    for level in candidates.levels:
        found.append(boxes[start : start + level.per_cell])
        start += level.count
    cell = torch.cat(found)
    return cell[:, 2:] - cell[:, :2]


def _places(candidates: Candidates, targets: Targets) -> Tensor:
    """int64 [B,M,A]: the candidate that each anchor is in the cell of each object's centre."""
    centre = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    start, found = 0, []
    for level in candidates.levels:
        column = (centre[..., 0] / level.stride).floor().long().clamp(0, level.width - 1)
        row = (centre[..., 1] / level.stride).floor().long().clamp(0, level.height - 1)
        entries = torch.arange(level.per_cell, device=centre.device)
        found.append(start + (row * level.width + column).unsqueeze(2) * level.per_cell + entries)
        start += level.count
    return torch.cat(found, 2)
