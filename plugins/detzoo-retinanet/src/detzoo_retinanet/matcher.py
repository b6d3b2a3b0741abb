"""FCOS's matching: cells near the middle of an object, on the level that is made for its size."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import area, full_precision
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.matching import chunks
from detzoo.types import BACKGROUND, Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=0)]


class CentreSampling(Matcher):
    """A cell answers for the smallest object that its point lies in, close enough to the middle, on the right level.

    The candidates are squares, one in each cell: their middles are the points, their sides the nominal strides.

    Args:
        radius: distance of the point from the object's middle, in sides of the candidate, horizontally and vertically,
            that it must stay below; null: anywhere in the object (the paper's section 3.1).
        scale_range: of the longest of the four distances to the object's edges, in sides of the candidate: 4 to 8 of
            strides 8, 16, ... are the paper's 64, 128, 256 and 512 px. The first level has no lower bound, the last no
            upper one. Null: every level takes every object.
        inclusive: a distance equal to a bound lies within it (paper: an object of just 64 px belongs to two levels),
            else without (torchvision: to none).
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``area``: the share of the
            candidate that it covers; or as ``iou``.
        ignore_threshold: background candidates that overlap ignored ground truth by at least this leave the loss.

    Source: FCOS (arXiv:1904.01355), section 3.2, with the centre sampling of arXiv:2006.09214, section 3.1.2;
    torchvision ``FCOS.compute_loss``. Difference: areas are compared as they are, where torchvision subtracts them from
    1e8 in float32, so that areas less than 8 px² apart tie there. Of equal areas the first object wins.
    """

    needs = frozenset({Feature.LEVELS})

    def __init__(
        self,
        *,
        radius: Annotated[float, Field(gt=0)] | None = 1.5,
        scale_range: tuple[Ratio, Ratio] | None = (4.0, 8.0),
        inclusive: bool = True,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        if scale_range is not None and scale_range[0] >= scale_range[1]:
            raise RecipeError(
                f"matcher centre_sampling: scale_range {list(scale_range)} is empty; write the smaller bound first"
            )
        self.radius, self.scale_range, self.inclusive = radius, scale_range, inclusive
        self.ignore_by, self.ignore_threshold = ignore_by, ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], a few ground truths at a time."""
        batch, truths = targets.labels.shape
        count = candidates.boxes.shape[1]
        low, high = self.bounds(candidates)
        index = torch.full((batch, count), BACKGROUND, device=targets.labels.device)
        smallest = torch.full((batch, count), math.inf, device=targets.labels.device)
        for rows in chunks(4 * batch, truths, count) if count else ():  # four distances for each pair
            matched = self.matches(candidates, targets, rows, low, high)  # [B,m,N]
            # FCOS, section 3.2: the smaller object wins
            areas = area(full_precision(targets.boxes[:, rows])).unsqueeze(2)
            least, row = torch.where(matched, areas, math.inf).min(dim=1)
            index = torch.where(least < smallest, row + rows.start, index)  # <: of equal areas the first stays
            smallest = torch.minimum(least, smallest)
        return Assignment(
            leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        )

    def matches(self, candidates: Candidates, targets: Targets, rows: slice, low: Tensor, high: Tensor) -> Tensor:
        """bool [B,m,N]: pairs of the chosen ground truths and the candidates that may answer for them."""
        truth = full_precision(targets.boxes[:, rows]).unsqueeze(2)  # [B,m,1,4]
        places = full_precision(candidates.boxes).unsqueeze(1)  # [1 or B,1,N,4]
        point, side = (places[..., :2] + places[..., 2:]) / 2, places[..., 2] - places[..., 0]
        distances = torch.cat([point - truth[..., :2], truth[..., 2:] - point], dim=-1)  # [B,m,N,4]
        matched = distances.amin(-1) > 0  # a point on the edge has centreness 0
        if self.radius is not None:
            middle = (truth[..., :2] + truth[..., 2:]) / 2
            matched &= (point - middle).abs().amax(-1) < self.radius * side
        longest = distances.amax(-1)
        if self.inclusive:
            matched &= (longest >= low) & (longest <= high)
        else:
            matched &= (longest > low) & (longest < high)
        return matched & targets.usable[:, rows].unsqueeze(2)

    def bounds(self, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Least and greatest longest distance of each candidate, px, [1 or B,1,N]."""
        side = full_precision(candidates.boxes)[..., 2] - candidates.boxes[..., 0]
        if self.scale_range is None:
            return torch.full_like(side, -math.inf).unsqueeze(1), torch.full_like(side, math.inf).unsqueeze(1)
        low, high = side * self.scale_range[0], side * self.scale_range[1]
        first = candidates.levels[0].count if candidates.levels else side.shape[1]
        last = candidates.levels[-1].count if candidates.levels else side.shape[1]
        low[:, :first] = -math.inf  # P3 takes every small object
        high[:, side.shape[1] - last :] = math.inf  # P7 takes every large one
        return low.unsqueeze(1), high.unsqueeze(1)
