"""SimOTA: each ground truth takes the cells near its centre that cost it least."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou_matrix
from detzoo.ops.dynamic_k import dynamic_k
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.label_assignment import predicted_boxes
from detzoo.ops.matching import chunks, rows_used
from detzoo.ops.scores import scores_of
from detzoo.types import Assignment, Candidates, Predictions, Targets

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
        found = predicted_boxes(predictions, candidates)
        wrong, right = class_costs(predictions)
        label = targets.labels[:, :used].clamp(max=max(0, right.shape[2] - 1))

        def costs(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            overlap = iou_matrix(truth[:, rows], found)
            own = right.transpose(1, 2).gather(1, label[:, rows].unsqueeze(2).expand(-1, -1, right.shape[1]))
            cost = wrong.unsqueeze(1) + own - self.iou_weight * torch.log(overlap + EPSILON)
            cost = cost.clamp(min=0) + OUTSIDE * ~places.best(truth[:, rows])
            return cost, overlap, near_any.unsqueeze(1)

        shape = (usable.shape[0], used, candidates.boxes.shape[1])
        index, quality = dynamic_k(costs, shape, usable, most=self.top_k)
        index = leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        return Assignment(index, quality=quality)


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
        self.reach = radius * candidates.strides().unsqueeze(-1)  # [N,1]
        self.valid, self.inside = candidates.valid, inside

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
        middle = ((truth[..., :2] + truth[..., 2:]) / 2).unsqueeze(2)  # [B,m,1,2]
        return ((self.centre.unsqueeze(1) - middle).abs() < self.reach).all(-1)

    def _within(self, truth: Tensor) -> Tensor:
        places, boxes = self.centre.unsqueeze(1), truth.unsqueeze(2)
        return ((places > boxes[..., :2]) & (places < boxes[..., 2:])).all(-1)
