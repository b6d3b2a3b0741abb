"""SSD's matching: every ground truth gets a prior of its own, then every prior that overlaps enough joins."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Matcher
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.matching import best_candidates, best_truths, greedy_bipartite, overlap_matrix
from detzoo.types import BACKGROUND, IGNORE, Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]


class SsdBipartite(Matcher):
    """The best prior of each ground truth, then all priors whose IoU with some ground truth reaches a threshold.

    Args:
        threshold: IoU from which a prior is positive.
        inclusive: a prior at exactly the threshold is positive (Caffe, torchvision); else it must exceed it.
        negative_threshold: unmatched priors with at least this IoU are ignored (Caffe's neg_overlap); null: the
            threshold itself, so that none are.
        tie: two ground truths that share their best prior. ``bipartite``: the better pair takes it and the other gets
            its next best (Caffe). ``last_write_wins``: the later ground truth takes it and the other loses its
            guarantee (amdegroot, torchvision).
        legacy_plus_one: IoU counts both edge pixels.
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``iou`` or as the share of the
            prior's ``area`` that it covers.
        ignore_threshold: unmatched priors that overlap ignored ground truth by at least this leave the loss.

    Source: SSD, section 2.2; Caffe SSD ``MatchBBox`` (bipartite, then per prediction); torchvision ``SSDMatcher``.
    """

    def __init__(
        self,
        *,
        threshold: Fraction = 0.5,
        inclusive: bool = True,
        negative_threshold: Fraction | None = None,
        tie: Literal["bipartite", "last_write_wins"] = "bipartite",
        legacy_plus_one: bool = False,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.inclusive = inclusive
        self.negative_threshold = negative_threshold
        self.tie = tie
        self.legacy_plus_one = legacy_plus_one
        self.ignore_by = ignore_by
        self.ignore_threshold = ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign priors [1 or B,N] to ground truth [B,M]."""
        usable = targets.usable
        batch, count = usable.shape[0], candidates.boxes.shape[1]
        if count == 0:
            return Assignment(usable.new_zeros(batch, 0, dtype=torch.int64), targets.boxes.new_zeros(batch, 0))
        overlaps = overlap_matrix(candidates, targets, plus_one=self.legacy_plus_one)  # [B,M,N]
        usable = usable[:, : overlaps.shape[1]]
        if overlaps.shape[1] == 0:
            overlaps, usable = overlaps.new_full((batch, 1, count), -1.0), usable.new_zeros((batch, 1))
        overlap = overlaps.amax(dim=1)  # [B,N]
        positive = (overlap >= self.threshold if self.inclusive else overlap > self.threshold) & (overlap > 0)
        index = torch.where(positive, best_truths(overlaps, positive), BACKGROUND)
        if self.negative_threshold is not None:
            index = torch.where((index == BACKGROUND) & (overlap >= self.negative_threshold), IGNORE, index)
        index = leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        # after ignoring: each ground truth gets its prior whatever the threshold
        forced = self.forced(overlaps, usable)
        index = torch.where(forced >= 0, forced, index)  # never an invalid one: its overlaps are -1
        return Assignment(index, overlap.clamp(min=0))

    def forced(self, overlaps: Tensor, usable: Tensor) -> Tensor:
        """int64 [B,N]: the ground truth that a prior must take, -1 where it is free."""
        if self.tie == "bipartite":
            prior = greedy_bipartite(overlaps, usable)
        else:
            best, place = best_candidates(overlaps)
            prior = torch.where(usable & (best > 0), place, -1)  # a box without area overlaps nothing
        truth = torch.arange(usable.shape[1], device=usable.device).expand_as(prior)
        free = torch.full((overlaps.shape[0], overlaps.shape[2]), -1, dtype=torch.int64, device=usable.device)
        return free.scatter_reduce(1, prior.clamp(min=0), torch.where(prior >= 0, truth, -1), "amax")
