"""SimOTA: each ground truth takes the cells near its centre that cost it least."""

from __future__ import annotations

import copy
import dataclasses
from typing import Annotated, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou_matrix
from detzoo.ops.dynamic_k import dynamic_k
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.matching import chunks, rows_used
from detzoo.ops.ranking import allows_dynamic_shapes, gather_rows
from detzoo.ops.scores import scores_of
from detzoo.types import BACKGROUND, Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]
OUTSIDE: Final = 1e6
"""Added to the cost of a cell that is not near the ground truth, so that it is the last choice."""
LOWEST_LOG: Final = -100.0
"""Bound of logarithms in a cross-entropy, as torch's ``binary_cross_entropy`` has it."""
EPSILON: Final = 1e-8
"""Added to an IoU before its logarithm."""


class SimOta(Matcher):
    """Cost = cross-entropy of the classes + 3 x -log IoU; each ground truth takes its k cheapest cells.

    The score in the cross-entropy is sqrt(class x objectness). Cells may be chosen whose centre lies within ``radius``
    strides of the centre of any ground truth; for another ground truth than that they cost a million more. k is the
    sum of the ``top_k`` highest IoUs of predicted boxes with the ground truth, cut to a whole number, at least 1. A
    cell that several choose goes to the one for which it is cheapest. ``Assignment.quality`` is the IoU.

    Args:
        radius: half the side of the square around the centre of a ground truth, in strides of the cell's level.
        inside: cells inside the ground truth may be chosen too, and only those both inside and near the centre cost no
            million more: YOLOX's first release, there with a radius of 2.5.
        top_k: IoUs that are added up.
        iou_weight: factor of the box cost.
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``iou`` or as the share of the
            cell's ``area`` that it covers.
        ignore_threshold: background cells that overlap ignored ground truth by at least this leave the loss.

    Source: Ge et al. 2021 (arXiv:2107.08430), section 2.1; Megvii-BaseDetection/YOLOX 0.3, ``get_assignments``.
    """

    name: ClassVar[str] = "simota"
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.PREDICTIONS, Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        *,
        radius: Annotated[float, Field(gt=0)] = 1.5,
        inside: bool = False,
        top_k: Annotated[int, Field(gt=0)] = 10,
        iou_weight: Annotated[float, Field(ge=0)] = 3.0,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.radius, self.inside, self.top_k, self.iou_weight = radius, inside, top_k, iou_weight
        self.ignore_by, self.ignore_threshold = ignore_by, ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], with the IoU [B,N] of the positives.

        Raises:
            RecipeError: it is shown no predictions.
        """
        if predictions is None or predictions.class_logits is None:
            raise RecipeError("matcher simota: it judges what was predicted, and is shown no class predictions")
        used = rows_used(targets.usable)
        usable, truth = targets.usable[:, :used], full_precision(targets.boxes[:, :used])
        places = _Places(candidates, self.radius, inside=self.inside)
        near_any = places.near_any(truth, usable)  # [B,N]
        rows, there = near_rows(near_any)
        places = places.at(rows)
        found = decoded_rows(predictions, candidates, rows)
        wrong, right = class_costs(logits_of_rows(predictions, rows))
        label = targets.labels[:, :used].clamp(max=max(0, right.shape[2] - 1))

        def costs(part: slice) -> tuple[Tensor, Tensor, Tensor]:
            overlap = iou_matrix(truth[:, part], found)
            own = right.transpose(1, 2).gather(1, label[:, part].unsqueeze(2).expand(-1, -1, right.shape[1]))
            cost = wrong.unsqueeze(1) + own - self.iou_weight * torch.log(overlap + EPSILON)
            cost = cost.clamp(min=0) + OUTSIDE * ~places.best(truth[:, part])
            return cost, overlap, there.unsqueeze(1)

        matched, overlap = dynamic_k(costs, (*usable.shape, rows.shape[1]), usable, most=self.top_k)
        index = torch.full_like(near_any, BACKGROUND, dtype=torch.int64).scatter(1, rows, matched)
        quality = overlap.new_zeros(index.shape).scatter(1, rows, overlap)
        index = leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        return Assignment(index, quality=quality)


def near_rows(near_any: Tensor) -> tuple[Tensor, Tensor]:
    """The cells that may be chosen, few of all: their rows int64 [B,S], ascending and padded, and bool [B,S].

    Where shapes may not depend on the data, these are all cells, and those that may not be chosen are flagged.
    """
    size = near_any.shape[1]
    if allows_dynamic_shapes(near_any):
        size = int(near_any.sum(1).amax()) if near_any.numel() else 0
        rows = near_any.sort(dim=1, descending=True, stable=True).indices[:, :size]
    else:
        rows = torch.arange(size, device=near_any.device).expand_as(near_any)
    return rows, near_any.gather(1, rows)


def decoded_rows(predictions: Predictions, candidates: Candidates, rows: Tensor) -> Tensor:
    """float32 [B,S,4] xyxy px: predicted boxes of candidates ``rows`` int64 [B,S]."""
    boxes = gather_rows(full_precision(candidates.boxes), rows)
    deltas = gather_rows(full_precision(predictions.deltas[:, :, 0]), rows)
    return boxes if candidates.coder is None else candidates.coder.decode(deltas, boxes, candidates.strides()[rows])


def logits_of_rows(predictions: Predictions, rows: Tensor) -> Predictions:
    """Class and quality logits of candidates ``rows`` int64 [B,S]; nothing else means anything."""
    assert predictions.class_logits is not None
    quality = predictions.quality_logits
    return dataclasses.replace(
        predictions,
        class_logits=gather_rows(predictions.class_logits, rows),
        quality_logits=None if quality is None else quality.gather(1, rows),
    )


def class_costs(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """The cross-entropy of a candidate with a one-hot class c, in two parts: ``wrong + right[c]``.

    Returns:
        float32 [B,N]: the cost of saying 0 to every class; float32 [B,N,K]: what saying 1 to one of them adds.
    """
    scores = scores_of(predictions, quality="geometric_mean")
    no = -torch.log1p(-scores).clamp(min=LOWEST_LOG)
    yes = -torch.log(scores).clamp(min=LOWEST_LOG)
    return no.sum(-1), yes - no


class _Places:
    """Where the centres of cells lie, seen from ground truths."""

    def __init__(self, candidates: Candidates, radius: float, *, inside: bool) -> None:
        boxes = full_precision(candidates.boxes)
        self.centre = (boxes[..., :2] + boxes[..., 2:]) / 2  # [1 or B,N,2]
        self.reach = radius * candidates.strides()[None, None]  # [1 or B,1,N]
        self.valid, self.inside = candidates.valid, inside

    def at(self, rows: Tensor) -> _Places:
        """Those of candidates ``rows`` int64 [B,S] alone."""
        chosen = copy.copy(self)
        chosen.centre, chosen.reach = gather_rows(self.centre, rows), self.reach[0, 0][rows].unsqueeze(1)
        return chosen

    def near_any(self, truth: Tensor, usable: Tensor) -> Tensor:
        """bool [B,N]: cells that some usable ground truth [B,M] may choose."""
        batch, truths, count = *usable.shape, self.centre.shape[1]
        found = torch.zeros(batch, count, dtype=torch.bool, device=truth.device)
        for rows in chunks(4 * batch, truths, count):
            near, within = self._near(truth[:, rows]), self._within(truth[:, rows])
            fits = near | within if self.inside else near
            found |= (fits & usable[:, rows].unsqueeze(2)).any(1)
        return found & self.valid

    def best(self, truth: Tensor) -> Tensor:
        """bool [B,m,N]: cells that each ground truth prefers."""
        return self._near(truth) & self._within(truth) if self.inside else self._near(truth)

    def _near(self, truth: Tensor) -> Tensor:
        x, y = ((truth[..., :2] + truth[..., 2:]) / 2).unsqueeze(2).unbind(-1)
        return ((self._axis(0) - x).abs() < self.reach) & ((self._axis(1) - y).abs() < self.reach)

    def _within(self, truth: Tensor) -> Tensor:
        left, top, right, bottom = truth.unsqueeze(2).unbind(-1)
        x, y = self._axis(0), self._axis(1)
        return (x > left) & (x < right) & (y > top) & (y < bottom)

    def _axis(self, axis: int) -> Tensor:
        """float [1 or B,1,N] px: x (0) or y (1) of the centres; one axis at a time, so that memory is read in order."""
        return self.centre[..., axis].unsqueeze(1)
