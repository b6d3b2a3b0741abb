"""ATSS: each ground truth chooses its own IoU threshold, from the candidates nearest to its centre."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.label_assignment import boxes_of, centres_inside, settled
from detzoo.ops.matching import chunks, rows_used
from detzoo.ops.ranking import extreme_rows, gather_rows
from detzoo.types import Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]


class Atss(Matcher):
    """Of the candidates nearest to a ground truth's centre, those that overlap it unusually much.

    On each level the ``nearest`` candidates, by the distance of centres, are looked at. Those whose IoU reaches the
    mean of these IoUs plus their standard deviation are positive, if their centre lies inside the ground truth. A
    candidate that several ground truths claim answers for the one that it overlaps most.

    Args:
        nearest: candidates looked at on each level, for each entry of a cell (the paper's k).
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``iou`` or as the share of the
            candidate's ``area`` that it covers.
        ignore_threshold: background candidates that overlap ignored ground truth by at least this leave the loss.

    The paper's settings: k 9, any value from 7 to 17 doing as well; one square of 8 strides in each cell. RetinaNet
    with them and FCOS' improvements: AP 39.3 on COCO (minival and test-dev, ResNet-50, 90,000 steps of 16 images, short
    side 800).

    Source: Zhang et al. 2020 (arXiv:1912.02424), section 4.1, algorithm 1; its release (sfzhang15/ATSS,
    ``prepare_targets``): standard deviation with n - 1, centres at least 0.01 px inside. Of equal distances the first
    candidate is taken, of equal IoUs the first ground truth; the release leaves both to the library.
    """

    needs = frozenset({Feature.LEVELS})

    def __init__(
        self,
        *,
        nearest: Annotated[int, Field(gt=0)] = 9,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.nearest = nearest
        self.ignore_by = ignore_by
        self.ignore_threshold = ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], a few ground truths at a time."""
        batch, count = targets.labels.shape[0], candidates.boxes.shape[1]
        valid = candidates.valid.expand(batch, count)
        if count == 0:
            return Assignment(torch.zeros_like(valid, dtype=torch.int64))
        used = rows_used(targets.usable)
        truth = full_precision(targets.boxes[:, :used])
        rows = self.nearby(candidates, truth)  # [B,M,S]
        near = gather_rows(valid.unsqueeze(-1), rows.flatten(1)).view_as(rows)
        overlap = iou(boxes_of(candidates, rows), truth.unsqueeze(2))  # [B,M,S]
        claimed = unusual(overlap, near) & centres_inside(candidates, rows, truth)
        index = settled(rows, claimed & targets.usable[:, :used].unsqueeze(2), overlap, count)
        return Assignment(
            leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        )

    def nearby(self, candidates: Candidates, truth: Tensor) -> Tensor:
        """int64 [B,M,S]: the nearest candidates of each level to ``truth`` [B,M,4], invalid ones last."""
        batch, truths = truth.shape[:2]
        places = full_precision(candidates.boxes)
        points, centres = (boxes[..., :2] + boxes[..., 2:] for boxes in (places, truth))  # twice the centres
        # no levels: one
        counts = [(level.count, level.per_cell) for level in candidates.levels] or [(places.shape[1], 1)]
        found: list[Tensor] = []
        for part in chunks(4 * batch, truths, places.shape[1]):  # 4: differences, squares, bits and places at once
            begin, levels = 0, []
            for count, per_cell in counts:
                one = slice(begin, begin + count)
                between = (points[:, one].unsqueeze(1) - centres[:, part].unsqueeze(2)).square().sum(-1)  # [B,m,n]
                between = between.masked_fill(~candidates.valid[:, one].unsqueeze(1), torch.inf)
                nearest = extreme_rows(between, min(self.nearest * per_cell, count), largest=False)
                levels.append(nearest + begin)
                begin += count
            found.append(torch.cat(levels, dim=2))
        return torch.cat(found, dim=1) if found else torch.zeros(batch, 0, 1, dtype=torch.int64, device=truth.device)


def unusual(overlap: Tensor, counted: Tensor) -> Tensor:
    """Which values reach the mean of their row plus its standard deviation (of n - 1).

    Args:
        overlap: float [...,S], S at least 1.
        counted: bool [...,S]: the values of the row; the others are False in the result.

    Returns:
        bool [...,S].
    """
    # seen from the highest: equal values are exactly 0 then, and reach their mean whatever the rounding
    highest = torch.where(counted, overlap, -1).amax(-1, keepdim=True)
    below = torch.where(counted, overlap - highest, 0)
    number = counted.sum(-1, keepdim=True)
    mean = below.sum(-1, keepdim=True) / number.clamp(min=1)
    spread = torch.where(counted, (below - mean).square(), 0).sum(-1, keepdim=True) / (number - 1).clamp(min=1)
    return counted & (below >= mean + spread.sqrt())  # >=, as the release
