"""LW-DETR's and RF-DETR's loss: classes learn how good boxes are, and each group of queries finds all objects."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from detzoo.components.unreduced_losses import class_targets
from detzoo.interfaces import BoxLoss, ClassLoss, Feature, Loss
from detzoo.ops.boxes import full_precision, iou
from detzoo.ops.loss_divisors import divisor_of
from detzoo.ops.matching import matched_boxes, matched_labels, matched_weights, safe_candidates
from detzoo.types import Assignment, Candidates, Predictions, Targets
from detzoo_detr.loss import positive_sums

Weight = Annotated[float, Field(ge=0)]


class IouAwareBce(ClassLoss):
    """Cross-entropy of a score p with a target between p and the box's IoU q; negatives count p^gamma.

    A positive, in its class: -t log p - (1 - t) log(1 - p), where t = max(p^alpha q^(1 - alpha), least) has no
    gradient. Everything else: -p^gamma log(1 - p), whose factor has one.

    Args:
        alpha: share of the score in the target.
        gamma: focusing exponent of the negatives.
        least: lower bound of the target.

    Source: Chen et al. 2024 (LW-DETR, arXiv:2406.03459), section 3.2, eq. 1 (after Cai et al. 2023, Align-DETR,
    arXiv:2304.07527); roboflow/rf-detr, ``SetCriterion.loss_labels`` with ``ia_bce_loss``, whose settings are the
    defaults.
    """

    name: ClassVar[str] = "iou_aware_bce"
    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.25,
        gamma: Weight = 2.0,
        least: Annotated[float, Field(ge=0, le=1)] = 0.01,
    ) -> None:
        super().__init__()
        self.alpha, self.gamma, self.least = alpha, gamma, least

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N] and their quality [B,N] or [B,N,K]; None: 1."""
        logits = full_precision(logits)
        own = class_targets(labels, logits, None) > 0  # [B,N,K]
        score, yes, no = torch.sigmoid(logits), -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
        with torch.no_grad():
            target = score**self.alpha
            if quality is not None:
                share = quality if quality.ndim == logits.ndim else quality.unsqueeze(-1)
                target = target * share.to(target.dtype).clamp(min=0) ** (1 - self.alpha)
            target = target.clamp(min=self.least)
        return torch.where(own, target * yes + (1 - target) * no, score**self.gamma * no).sum(-1)


class GroupSetLoss(Loss):
    """Classes of all candidates and boxes of the positives, where each object has a positive in each group of queries.

    Every term is a sum over candidates, divided by the number of objects in the batch times ``groups``, at least 1:
    the mean over groups. Heads that give groups name their predictions so that one call is one group, or all.

    Args:
        classification: loss of a class, unreduced: ``iou_aware_bce``.
        distance: loss of a box in the coder's units, unreduced: ``l1``.
        overlap: loss of a box by its overlap, unreduced: ``giou``.
        groups: of queries in training, as the head's; 1: none but the one that detects.
        target: the soft target of a positive: the ``iou`` of its predicted box with its ground truth, through which no
            gradient passes, or ``one``.
        class_weight: factor of the class term.
        distance_weight: factor of the first box term.
        overlap_weight: factor of the second.

    Source: Chen et al. 2023 (Group DETR, arXiv:2207.13085), section 3.2; LW-DETR (arXiv:2406.03459), section 3.2;
    transformers 5.24, ``LwDetrImageLoss``. Difference: ground truth that is ignored is no object.
    """

    name: ClassVar[str] = "group_set"
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        distance: BoxLoss,
        overlap: BoxLoss,
        groups: Annotated[int, Field(ge=1, le=64)] = 13,
        target: Literal["iou", "one"] = "iou",
        class_weight: Weight = 1.0,
        distance_weight: Weight = 5.0,
        overlap_weight: Weight = 2.0,
    ) -> None:
        super().__init__()
        self.classification, self.distance, self.overlap = classification, distance, overlap
        self.groups, self.target = groups, target
        if target == "one":
            self.gives = frozenset()
        self.class_weight, self.distance_weight, self.overlap_weight = class_weight, distance_weight, overlap_weight

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification``, ``distance`` and ``overlap``; zeros of the graph where nothing counts."""
        divisor = divisor_of(targets.usable * float(self.groups), scope="batch", at_least=1.0)
        places, boxes = safe_candidates(candidates), matched_boxes(candidates, targets, assignment)
        deltas, weight = predictions.deltas.squeeze(2), matched_weights(targets, assignment)
        judged = dataclasses.replace(assignment, quality=self.qualities(deltas, boxes, places, assignment))
        sums = {
            "classification": self.class_weight * self.class_sums(predictions, targets, judged, weight),
            "distance": self.distance_weight * positive_sums(self.distance(deltas, boxes, places), assignment, weight),
            "overlap": self.overlap_weight * positive_sums(self.overlap(deltas, boxes, places), assignment, weight),
        }
        return {name: (of_images / divisor).sum() for name, of_images in sums.items()}

    @torch.no_grad()
    def qualities(self, deltas: Tensor, boxes: Tensor, places: Candidates, assignment: Assignment) -> Tensor | None:
        """float [B,N]: IoU of the positives' boxes with their ground truth, 0 elsewhere; None: all are 1."""
        if self.target == "one" or places.coder is None:
            return None
        found = places.coder.decode(full_precision(deltas), places.boxes, places.strides())
        return torch.where(assignment.positive, iou(found, boxes.to(found.dtype)), 0)

    def class_sums(
        self, predictions: Predictions, targets: Targets, assignment: Assignment, weight: Tensor | None
    ) -> Tensor:
        """float [B]: class losses of the candidates that are not ignored, per image."""
        assert predictions.class_logits is not None
        losses = self.classification(predictions.class_logits, matched_labels(targets, assignment), assignment.quality)
        charged = torch.where(assignment.negative, losses, 0)
        return torch.where(assignment.positive, losses if weight is None else losses * weight, charged).sum(1)
