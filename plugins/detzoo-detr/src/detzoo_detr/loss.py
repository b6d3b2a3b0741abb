"""DETR's loss of a set of predictions: classes of all queries, boxes of the matched ones."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.components.normalisers import Positives, Sampled
from detzoo.interfaces import BoxLoss, ClassLoss, Feature, Loss, Normaliser
from detzoo.ops.boxes import full_precision, iou
from detzoo.ops.matching import matched_boxes, matched_labels, matched_weights, safe_candidates
from detzoo.types import Assignment, Candidates, Predictions, Targets

Weight = Annotated[float, Field(ge=0)]
Target = Literal["one", "iou"]
"""What a positive's score should be: 1, or the IoU of its box with the ground truth's."""
TINY: Final = 1e-12
"""Keeps 0 / 0 from being one; any whole number of candidates is larger."""


class QuerySetLoss(Loss):
    """Classes over all candidates that are not ignored, two losses of the boxes over the positives; no divisors yet.

    Args:
        classification: loss of a class, unreduced.
        distance: loss of a box in the coder's units, unreduced.
        overlap: loss of a box by its overlap, unreduced.
        no_object_weight: weight of a negative in the class term.
        target: of a positive's score.
        class_weight: factor of the class term.
        distance_weight: factor of the first box term.
        overlap_weight: factor of the second.
    """

    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        distance: BoxLoss,
        overlap: BoxLoss,
        no_object_weight: float,
        target: Target,
        class_weight: float,
        distance_weight: float,
        overlap_weight: float,
    ) -> None:
        super().__init__()
        self.classification, self.distance, self.overlap = classification, distance, overlap
        if target == "one":
            self.gives = frozenset()
        self.target, self.no_object_weight = target, no_object_weight
        self.class_weight, self.distance_weight, self.overlap_weight = class_weight, distance_weight, overlap_weight

    @abstractmethod
    def divisors(self, targets: Targets, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Scalars: of the class term, and of the box terms."""

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification``, ``distance`` and ``overlap``; zeros of the graph where nothing counts."""
        of_classes, of_boxes = self.divisors(targets, assignment)
        places, boxes = safe_candidates(candidates), matched_boxes(candidates, targets, assignment)
        deltas, weight = predictions.deltas.squeeze(2), matched_weights(targets, assignment)
        judged = assignment if self.target == "one" else replace(assignment, quality=overlaps(deltas, boxes, places))
        classes = self.class_sums(predictions, targets, judged)
        distances = positive_sums(self.distance(deltas, boxes, places), assignment, weight)
        others = positive_sums(self.overlap(deltas, boxes, places), assignment, weight)
        return {
            "classification": (self.class_weight * classes / of_classes).sum(),
            "distance": (self.distance_weight * distances / of_boxes).sum(),
            "overlap": (self.overlap_weight * others / of_boxes).sum(),
        }

    def class_sums(self, predictions: Predictions, targets: Targets, assignment: Assignment) -> Tensor:
        """float32 [B]: weighed class losses, per image."""
        assert predictions.class_logits is not None
        labels, weight = matched_labels(targets, assignment), matched_weights(targets, assignment)
        losses = self.classification(predictions.class_logits, labels, assignment.quality)
        charged = torch.where(assignment.negative, self.no_object_weight * losses, 0)
        return torch.where(assignment.positive, losses if weight is None else losses * weight, charged).sum(1)


class SetLoss(QuerySetLoss):
    """Classes over all candidates that are not ignored, and two losses of the boxes over the positives.

    The class term is weighed: a negative counts ``no_object_weight``. It is divided by the sum of these weights (DETR:
    the mean of a weighted cross-entropy) or, like the boxes, by ``normaliser`` (Deformable DETR, with a focal loss).

    Args:
        classification: loss of a class, unreduced: ``cross_entropy`` or ``focal``, as the head scores.
        distance: loss of a box in the coder's units, unreduced: ``l1``.
        overlap: loss of a box by its overlap, unreduced: ``giou``.
        normaliser: the divisor of the box terms: positives of the whole batch.
        class_divisor: that of the class term: the sum of its ``weights``, or the ``objects`` of ``normaliser``.
        no_object_weight: weight of a negative in the class term; 1 beside a focal loss, which weighs by itself.
        target: what a positive's score should be: ``one``, or the ``iou`` of its box with the ground truth's, through
            which no gradient passes (RT-DETR, beside ``varifocal``).
        class_weight: factor of the class term.
        distance_weight: factor of the first box term.
        overlap_weight: factor of the second.

    Each layer of a decoder is a call of its own, with an assignment of its own: OneStage names the terms of earlier
    layers ``aux0.classification`` and so on.

    Source: Carion et al. 2020 (arXiv:2005.12872), section 3.1, eq. 2, and appendix A.2; its ``SetCriterion``. Zhao et
    al. 2023 (arXiv:2304.08069), section 4.3: ``target: iou``.
    Difference: over several processes the sum of the weights is that of all of them, as the number of objects is.
    """

    name: ClassVar[str] = "set"

    def __init__(
        self,
        *,
        classification: ClassLoss,
        distance: BoxLoss,
        overlap: BoxLoss,
        normaliser: Normaliser,
        class_divisor: Literal["weights", "objects"] = "weights",
        no_object_weight: Weight = 0.1,
        target: Target = "one",
        class_weight: Weight = 1.0,
        distance_weight: Weight = 5.0,
        overlap_weight: Weight = 2.0,
    ) -> None:
        super().__init__(
            classification=classification,
            distance=distance,
            overlap=overlap,
            no_object_weight=no_object_weight,
            target=target,
            class_weight=class_weight,
            distance_weight=distance_weight,
            overlap_weight=overlap_weight,
        )
        self.normaliser, self.class_divisor = normaliser, class_divisor
        self.counted, self.positives = Sampled(at_least=TINY), Positives(at_least=TINY)

    def divisors(self, targets: Targets, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Scalars: of the class term, and of the box terms."""
        objects = self.normaliser(assignment)
        if self.class_divisor == "objects":
            return objects, objects
        # p + w n = w (p + n) + (1 - w) p, of counts that are summed over processes
        weight = self.no_object_weight
        return weight * self.counted(assignment) + (1 - weight) * self.positives(assignment), objects


@torch.no_grad()
def overlaps(deltas: Tensor, boxes: Tensor, candidates: Candidates) -> Tensor:
    """float [B,N]: IoU of predicted boxes [B,N,4], as deltas, with ``boxes`` [B,N,4] xyxy px."""
    assert candidates.coder is not None
    found = candidates.coder.decode(full_precision(deltas), candidates.boxes, candidates.strides())
    return iou(found, boxes.to(found.dtype))


def positive_sums(losses: Tensor, assignment: Assignment, weight: Tensor | None) -> Tensor:
    """float32 [B]: losses [B,N] of the positives, times their weight [B,N] where there is one, per image."""
    return torch.where(assignment.positive, losses if weight is None else losses * weight, 0).sum(1)
