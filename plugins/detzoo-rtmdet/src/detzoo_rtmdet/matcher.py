"""RTMDet's matching: soft labels in the class cost, and a soft prior on the distance from the object's centre."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou_matrix
from detzoo.ops.dynamic_k import dynamic_k
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.label_assignment import predicted_boxes
from detzoo.ops.matching import chunks, rows_used
from detzoo.types import Assignment, Candidates, Predictions, Targets

Fraction = Annotated[float, Field(ge=0, le=1)]
EPSILON: Final = 1e-7
"""Added to an IoU before its logarithm."""
HIGHEST: Final = 38.0
"""Bound of the exponent of the centre prior: 10^38 is the last power of ten that float32 holds."""
PARALLEL: Final = 8
"""Matrices of pairs that are held at once: IoU, logits, score, two entropies, distance, their sum, a mask."""


class DynamicSoftLabel(Matcher):
    """Cost = class cost + 3 x -log IoU + 10^(distance - 3); each ground truth takes its k cheapest candidates.

    The class cost is |y - p|^2 times the cross-entropy of the score p with y, summed over classes, where y is the IoU
    of the predicted box for the ground truth's class and 0 for the others. The distance is that of the candidate's
    point from the centre of the ground truth, in strides. Candidates may be chosen whose point lies inside any ground
    truth. k is the sum of the ``top_k`` highest IoUs of their predicted boxes with the ground truth, cut to a whole
    number, at least 1. A candidate that several choose goes to the one for which it is cheapest.
    ``Assignment.quality`` is the IoU.

    Args:
        radius: distance in strides at which the centre prior costs 1.
        top_k: IoUs that are added up.
        iou_weight: factor of the box cost.
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``iou`` or as the share of the
            candidate's ``area`` that it covers.
        ignore_threshold: background candidates that overlap ignored ground truth by at least this leave the loss.

    Source: Lyu et al. 2022 (arXiv:2212.07784), section 3.3, eq. 1-4; mmdetection 3.3, ``DynamicSoftLabelAssigner``,
    whose natural logarithm and settings these are. It leaves ties to torch; here the earlier candidate is taken. It
    never looks at ignored ground truth.
    """

    name: ClassVar[str] = "dynamic_soft_label"
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.PREDICTIONS, Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        *,
        radius: Annotated[float, Field(ge=0)] = 3.0,
        top_k: Annotated[int, Field(gt=0)] = 13,
        iou_weight: Annotated[float, Field(ge=0)] = 3.0,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.radius, self.top_k, self.iou_weight = radius, top_k, iou_weight
        self.ignore_by, self.ignore_threshold = ignore_by, ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], with the IoU [B,N] of the positives.

        Raises:
            RecipeError: it is shown no predictions.
        """
        if predictions is None or predictions.class_logits is None:
            raise RecipeError(
                "matcher dynamic_soft_label: it judges what was predicted, and is shown no class predictions"
            )
        used = rows_used(targets.usable)
        usable, truth = targets.usable[:, :used], full_precision(targets.boxes[:, :used])
        points = _Points(candidates)
        inside_any = points.inside_any(truth, usable)  # [B,N]
        found = predicted_boxes(predictions, candidates)
        classes = _ClassCosts(predictions.class_logits, targets.labels[:, :used])

        def costs(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
            overlap = iou_matrix(truth[:, rows], found)
            far = (points.distance(truth[:, rows]) - self.radius).clamp(max=HIGHEST)
            cost = classes(rows, overlap) - self.iou_weight * torch.log(overlap + EPSILON) + 10**far
            return cost.clamp(min=0), overlap, inside_any.unsqueeze(1)

        shape = (usable.shape[0], used, candidates.boxes.shape[1])
        index, quality = dynamic_k(costs, shape, usable, most=self.top_k, parallel=PARALLEL)
        index = leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        return Assignment(index, quality=quality)


class _ClassCosts:
    """|y - p|^2 times cross-entropy of pairs: what all classes cost as background, but for the one that has a target.

    Args:
        logits: float [B,N,K].
        labels: int64 [B,M].
    """

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        logits = full_precision(logits)
        self.logits = logits.transpose(1, 2)  # [B,K,N]
        self.labels = labels.clamp(max=max(0, logits.shape[2] - 1))
        self.background = (torch.sigmoid(logits).square() * F.softplus(logits)).sum(-1)  # [B,N]

    def __call__(self, rows: slice, overlap: Tensor) -> Tensor:
        """float [B,m,N] of ground truths ``rows``, whose predicted boxes overlap by ``overlap`` [B,m,N]."""
        label = self.labels[:, rows].unsqueeze(2).expand(-1, -1, self.logits.shape[2])
        own = self.logits.gather(1, label)
        score, entropy = torch.sigmoid(own), F.softplus(own)  # with target y: softplus(x) - x y
        with_target = (overlap - score).square() * (entropy - own * overlap)
        return self.background.unsqueeze(1) + (with_target - score.square() * entropy)


class _Points:
    """Where the candidates' points lie, seen from ground truths."""

    def __init__(self, candidates: Candidates) -> None:
        boxes = full_precision(candidates.boxes)
        self.point = (boxes[..., :2] + boxes[..., 2:]) / 2  # [1 or B,N,2]
        self.strides, self.valid = candidates.strides(), candidates.valid

    def inside_any(self, truth: Tensor, usable: Tensor) -> Tensor:
        """bool [B,N]: candidates that lie inside some usable ground truth [B,M], not on its border."""
        batch, truths, count = *usable.shape, self.point.shape[1]
        found = torch.zeros(batch, count, dtype=torch.bool, device=truth.device)
        points = self.point.unsqueeze(1)
        for rows in chunks(4 * batch, truths, count):
            boxes = truth[:, rows].unsqueeze(2)
            inside = ((points > boxes[..., :2]) & (points < boxes[..., 2:])).all(-1)
            found |= (inside & usable[:, rows].unsqueeze(2)).any(1)
        return found & self.valid

    def distance(self, truth: Tensor) -> Tensor:
        """float [B,m,N]: from the centres of ``truth`` [B,m,4], in strides of the candidate's level."""
        middle = ((truth[..., :2] + truth[..., 2:]) / 2).unsqueeze(2)  # [B,m,1,2]
        return (self.point.unsqueeze(1) - middle).square().sum(-1).sqrt() / self.strides
