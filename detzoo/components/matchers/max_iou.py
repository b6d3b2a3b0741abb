"""Matching by highest IoU with two thresholds: RPN, RoI heads, RetinaNet."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Matcher
from detzoo.ops.boxes import full_precision, iou_matrix
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.matching import chunks, truth_by_truth
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]


ROW_BY_ROW: Final = 8192
"""Candidates of an image above which the CPU takes one ground truth at a time."""


class MaxIou(Matcher):
    """Each candidate answers for the ground truth that it overlaps most, if it overlaps enough.

    Args:
        positive_threshold: IoU from which a candidate is positive.
        negative_threshold: IoU below which it is background; between the two it is ignored.
        negative_floor: background that overlaps less than this leaves the loss, where the image has ground truth at
            all: 0.1 is Fast R-CNN's mining of hard negatives, 0 is Faster R-CNN's.
        straddle: px by which a candidate may cross the border of its image; those that cross it by more are left out
            before anything else, so that they are neither background nor rescued (the paper's RPN: 0). null: all stay.
        low_quality: whether the best candidates of a ground truth (all that tie) become positive below the positive
            threshold: ``always`` (torchvision, detectron2), ``above_negative``: only with at least the negative
            threshold (Detectron), ``never``. Such a candidate still answers for the ground truth that it overlaps most.
        inclusive: IoU equal to a threshold has reached it (torchvision); else it must exceed it.
        legacy_plus_one: IoU counts both edge pixels.
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``iou`` or as the share of the
            candidate's ``area`` that it covers.
        ignore_threshold: background candidates that overlap ignored ground truth by at least this leave the loss.

    Source: Faster R-CNN, sections 3.1.2 and 3.3; torchvision ``Matcher``; py-faster-rcnn ``anchor_target_layer``
    (``_allowed_border`` is ``straddle``), fast-rcnn BG_THRESH_LO. Difference: a ground truth that overlaps no candidate
    at all rescues none (in torchvision every candidate ties for it at IoU 0).
    """

    def __init__(
        self,
        *,
        positive_threshold: Fraction = 0.5,
        negative_threshold: Fraction = 0.5,
        negative_floor: Fraction = 0.0,
        straddle: Annotated[float, Field(ge=0)] | None = None,
        low_quality: Literal["always", "above_negative", "never"] = "never",
        inclusive: bool = True,
        legacy_plus_one: bool = False,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        if negative_threshold > positive_threshold:
            raise RecipeError(
                f"matcher max_iou: negative_threshold {negative_threshold} exceeds positive_threshold "
                f"{positive_threshold}; lower the first or raise the second"
            )
        if negative_floor > negative_threshold:
            raise RecipeError(
                f"matcher max_iou: negative_floor {negative_floor} exceeds negative_threshold {negative_threshold}; "
                "nothing would be background: lower the first or raise the second"
            )
        self.positive_threshold = positive_threshold
        self.negative_threshold = negative_threshold
        self.negative_floor = negative_floor
        self.straddle = straddle
        self.low_quality = low_quality
        self.inclusive = inclusive
        self.legacy_plus_one = legacy_plus_one
        self.ignore_by = ignore_by
        self.ignore_threshold = ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], a few ground truths at a time."""
        candidates = self.within(candidates, targets)
        # elsewhere one matrix: static shapes
        many = candidates.boxes.shape[1] > ROW_BY_ROW and allows_dynamic_shapes(targets.boxes)
        overlap, best, rescued = (self.truth_by_truth if many else self.at_once)(candidates, targets)
        # also where the image has no ground truth: overlap is -1
        negative = ~self.reaches(overlap, self.negative_threshold)
        index = torch.where(self.reaches(overlap, self.positive_threshold), best, IGNORE)
        index = torch.where(negative, BACKGROUND, index)
        if self.negative_floor > 0:
            # -1 stays: an image without objects
            index = torch.where((overlap >= 0) & (overlap < self.negative_floor), IGNORE, index)
        index = leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        if rescued is not None:  # last: a rescued candidate is positive even where ignored ground truth covers it
            index = torch.where(rescued, best, index)  # invalid ones are never rescued: their overlap is -1
        return Assignment(index, overlap.clamp(min=0))

    def within(self, candidates: Candidates, targets: Targets) -> Candidates:
        """The candidates, those that cross the border of their image too far marked invalid: [B,N]."""
        if self.straddle is None:
            return candidates
        boxes, region = candidates.boxes, targets.region.unsqueeze(1)
        begin = (boxes[..., :2] >= region[..., :2] - self.straddle).all(-1)
        end = (boxes[..., 2:] <= region[..., 2:] + self.straddle).all(-1)
        return dataclasses.replace(candidates, valid=candidates.valid & begin & end)

    def reaches(self, overlap: Tensor, threshold: float) -> Tensor:
        """Whether IoU has reached a threshold; never where there is no overlap to speak of."""
        # -1 is no overlap at all
        return (overlap >= threshold if self.inclusive else overlap > threshold) & (overlap >= 0)

    def truth_by_truth(self, candidates: Candidates, targets: Targets) -> tuple[Tensor, Tensor, Tensor | None]:
        """The CPU's way for many candidates, most of which no ground truth touches; gives what ``at_once`` gives."""
        usable = targets.usable
        known = usable.any(1, keepdim=True) & candidates.valid  # those that touch nothing have IoU 0 with the first
        overlap = torch.where(known, 0.0, -1.0)
        best = (~usable).int().cumprod(1).sum(1, keepdim=True).repeat(1, overlap.shape[1])
        rescued = torch.zeros_like(known)
        for image, row, near, iou in truth_by_truth(candidates, targets, plus_one=self.legacy_plus_one):
            higher = (iou > overlap[image, near]).nonzero().squeeze(1)
            overlap[image, near[higher]] = iou[higher]
            best[image, near[higher]] = row
            if near.numel() and self.low_quality != "never":
                most = iou.max()
                rescued[image, near[(iou == most) & self.rescues(most)]] = True
        return overlap, best, None if self.low_quality == "never" else rescued

    def rescues(self, best_of_truth: Tensor) -> Tensor:
        """Whether ground truth that overlaps its best candidate by this much makes it positive."""
        wanted = best_of_truth > 0  # torchvision would rescue every anchor for a box that meets none
        if self.low_quality == "above_negative":
            wanted = wanted & self.reaches(best_of_truth, self.negative_threshold)
        return wanted

    def at_once(self, candidates: Candidates, targets: Targets) -> tuple[Tensor, Tensor, Tensor | None]:
        """Best IoU [B,N] (-1 without ground truth), its row [B,N], and whether low quality rescues it, bool [B,N]."""
        overlap, best, best_of_truth = self.highest(candidates, targets)
        if self.low_quality == "never":
            return overlap, best, None
        return overlap, best, self.rescued(candidates, targets, best_of_truth)

    def highest(self, candidates: Candidates, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """Best IoU [B,N] (-1 without ground truth) and its row [B,N], and the best IoU of each ground truth [B,M]."""
        batch, truths = targets.labels.shape
        count = candidates.boxes.shape[1]
        overlap = torch.full((batch, count), -1.0, device=targets.boxes.device)
        best = torch.zeros((batch, count), dtype=torch.int64, device=targets.boxes.device)
        of_truth = [overlap.new_zeros(batch, 0)]
        if count == 0:
            return overlap, best, overlap.new_full((batch, truths), -1.0)
        for rows in chunks(batch, truths, count):
            matrix = self.overlaps(candidates, targets, rows)
            highest, row = matrix.max(dim=1)
            # >, so that of equal ones the first chunk stays
            best = torch.where(highest > overlap, row + rows.start, best)
            overlap = torch.maximum(highest, overlap)
            of_truth.append(matrix.amax(dim=2))
        return overlap, best, torch.cat(of_truth, dim=1)

    def rescued(self, candidates: Candidates, targets: Targets, best_of_truth: Tensor) -> Tensor:
        """bool [B,N]: candidates that are the best, or tie for it, of some ground truth."""
        batch, truths = targets.labels.shape
        count = candidates.boxes.shape[1]
        wanted = self.rescues(best_of_truth)
        found = torch.zeros((batch, count), dtype=torch.bool, device=targets.boxes.device)
        for rows in chunks(batch, truths, count):
            # all that tie, as torchvision
            equal = self.overlaps(candidates, targets, rows) == best_of_truth[:, rows].unsqueeze(2)
            found |= (equal & wanted[:, rows].unsqueeze(2)).any(1)
        return found

    def overlaps(self, candidates: Candidates, targets: Targets, rows: slice) -> Tensor:
        """IoU [B,rows,N]; -1 for pairs that may not be matched."""
        truth, places = full_precision(targets.boxes[:, rows]), full_precision(candidates.boxes)
        matrix = iou_matrix(truth, places, plus_one=self.legacy_plus_one)
        return matrix.masked_fill_(~(targets.usable[:, rows].unsqueeze(2) & candidates.valid.unsqueeze(1)), -1.0)
