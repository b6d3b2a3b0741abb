"""DETR's loss of a set of predictions: classes of all queries, boxes of the matched ones."""

from __future__ import annotations

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
TINY: Final = 1e-12
"""Keeps 0 / 0 from being one; any whole number of candidates is larger."""


class SetLoss(Loss):
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
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        distance: BoxLoss,
        overlap: BoxLoss,
        normaliser: Normaliser,
        class_divisor: Literal["weights", "objects"] = "weights",
        no_object_weight: Weight = 0.1,
        target: Literal["one", "iou"] = "one",
        class_weight: Weight = 1.0,
        distance_weight: Weight = 5.0,
        overlap_weight: Weight = 2.0,
    ) -> None:
        super().__init__()
        self.classification, self.distance, self.overlap = classification, distance, overlap
        self.normaliser, self.class_divisor = normaliser, class_divisor
        if target == "one":
            self.gives = frozenset()
        self.target = target
        self.no_object_weight, self.class_weight = no_object_weight, class_weight
        self.distance_weight, self.overlap_weight = distance_weight, overlap_weight
        self.counted, self.positives = Sampled(at_least=TINY), Positives(at_least=TINY)

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification``, ``distance`` and ``overlap``; zeros of the graph where nothing counts."""
        objects = self.normaliser(assignment)
        places, boxes = safe_candidates(candidates), matched_boxes(candidates, targets, assignment)
        deltas, weight = predictions.deltas.squeeze(2), matched_weights(targets, assignment)
        judged = assignment if self.target == "one" else replace(assignment, quality=overlaps(deltas, boxes, places))
        sums = {
            "classification": self.class_weight * self.class_sums(predictions, targets, judged),
            "distance": self.distance_weight * positive_sums(self.distance(deltas, boxes, places), assignment, weight),
            "overlap": self.overlap_weight * positive_sums(self.overlap(deltas, boxes, places), assignment, weight),
        }
        divisors = {name: objects for name in sums} | {"classification": self.divisor(objects, assignment)}
        return {name: (of_images / divisors[name]).sum() for name, of_images in sums.items()}

    def class_sums(self, predictions: Predictions, targets: Targets, assignment: Assignment) -> Tensor:
        """float32 [B]: weighed class losses, per image."""
        assert predictions.class_logits is not None
        labels, weight = matched_labels(targets, assignment), matched_weights(targets, assignment)
        losses = self.classification(predictions.class_logits, labels, assignment.quality)
        charged = torch.where(assignment.negative, self.no_object_weight * losses, 0)
        return torch.where(assignment.positive, losses if weight is None else losses * weight, charged).sum(1)

    def divisor(self, objects: Tensor, assignment: Assignment) -> Tensor:
        """That of the class term."""
        if self.class_divisor == "objects":
            return objects
        # p + w n = w (p + n) + (1 - w) p, of counts that are summed over processes
        weight = self.no_object_weight
        return weight * self.counted(assignment) + (1 - weight) * self.positives(assignment)


@torch.no_grad()
def overlaps(deltas: Tensor, boxes: Tensor, candidates: Candidates) -> Tensor:
    """float [B,N]: IoU of predicted boxes [B,N,4], as deltas, with ``boxes`` [B,N,4] xyxy px."""
    assert candidates.coder is not None
    found = candidates.coder.decode(full_precision(deltas), candidates.boxes, candidates.strides())
    return iou(found, boxes.to(found.dtype))


def positive_sums(losses: Tensor, assignment: Assignment, weight: Tensor | None) -> Tensor:
    """float32 [B]: losses [B,N] of the positives, times their weight [B,N] where there is one, per image."""
    return torch.where(assignment.positive, losses if weight is None else losses * weight, 0).sum(1)
