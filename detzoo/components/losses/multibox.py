"""Classification over positives and chosen negatives, localisation over positives: SSD, RPN, RoI heads, RetinaNet."""

from __future__ import annotations

from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxLoss, ClassLoss, Loss, Miner, Normaliser
from detzoo.ops.matching import candidate_rows, matched_boxes, matched_labels, of_classes, safe_candidates
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import Assignment, Candidates, Predictions, Targets

Weight = Annotated[float, Field(ge=0)]

MANY: Final = 4
"""Where more than one in so many candidates is chosen, copying their logits costs more than it saves."""


class MultiBox(Loss):
    """Weighted class and box losses, each divided by its normaliser.

    Args:
        classification: loss of a class, unreduced.
        box: loss of a box, unreduced.
        normaliser: the divisor of the class term.
        box_normaliser: that of the box term; null: the same.
        miner: chooses the candidates whose class counts; null: all that are not ignored.
        class_weight: factor of the class term.
        box_weight: factor of the box term (SSD's alpha, 1).

    Faster R-CNN's equation 1 as printed divides the classes by the 256 samples, the boxes by about 2,400 locations, and
    weighs the boxes by 10: ``normaliser: {type: sampled}, box_normaliser: {type: fixed, value: 2400}, box_weight: 10``.
    py-faster-rcnn and every port divide both by the samples and weigh them equally.

    RetinaNet, section 4: ``classification: {type: focal}`` over all candidates that are not ignored, no miner.

    Source: SSD, eq. 1; Caffe SSD MultiBoxLoss. Faster R-CNN, eq. 1; py-faster-rcnn RPN_POSITIVE_WEIGHT.
    """

    def __init__(
        self,
        *,
        classification: ClassLoss,
        box: BoxLoss,
        normaliser: Normaliser,
        box_normaliser: Normaliser | None = None,
        miner: Miner | None = None,
        class_weight: Weight = 1.0,
        box_weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.classification = classification
        self.box = box
        self.normaliser = normaliser
        self.box_normaliser = box_normaliser
        self.miner = miner
        self.class_weight = class_weight
        self.box_weight = box_weight

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification`` and ``box``; zeros connected to the graph where nothing counts."""
        assert predictions.class_logits is not None
        divisor = self.normaliser(assignment)
        box_divisor = divisor if self.box_normaliser is None else self.box_normaliser(assignment)
        labels = matched_labels(targets, assignment)
        chosen = self.mined(predictions.class_logits, labels, assignment)
        class_sums = self.class_sums(predictions.class_logits, labels, chosen)
        box_sums = self.box_sums(predictions.deltas, labels, candidates, targets, assignment)
        return {
            "classification": self.class_weight * (class_sums / divisor).sum(),
            "box": self.box_weight * (box_sums / box_divisor).sum(),
        }

    def mined(self, logits: Tensor, labels: Tensor, assignment: Assignment) -> Tensor:
        """bool [B,N]: candidates whose class counts."""
        if self.miner is None:
            return assignment.positive | assignment.negative
        with torch.no_grad():
            losses = self.classification(logits.detach(), labels)
            return self.miner(losses, assignment)

    def class_sums(self, logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
        """float32 [B]: class loss of the chosen, per image."""
        if not allows_dynamic_shapes(logits) or int(chosen.sum()) > chosen.numel() // MANY:
            return torch.where(chosen, self.classification(logits, labels), 0).sum(1)
        # few are chosen, so only their rows enter the graph; the shape depends on the data
        place = chosen.flatten().nonzero().squeeze(1)
        rows = logits.flatten(0, 1).index_select(0, place)
        losses = self.classification(rows.unsqueeze(0), labels.flatten()[place].unsqueeze(0)).squeeze(0)
        return losses.new_zeros(logits.shape[0]).index_add(0, place // max(1, logits.shape[1]), losses)

    def box_sums(
        self, deltas: Tensor, labels: Tensor, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> Tensor:
        """float32 [B]: box loss of the positives, per image."""
        batch, count, per_class = deltas.shape[:3]
        if not allows_dynamic_shapes(deltas):
            boxes = matched_boxes(candidates, targets, assignment)
            if per_class > 1:
                deltas = deltas.gather(2, labels.clamp(min=0)[:, :, None, None].expand(-1, -1, 1, 4))
            losses = self.box(deltas.squeeze(2), boxes, of_classes(safe_candidates(candidates), labels))
            return torch.where(assignment.positive, losses, 0).sum(1)
        # as above: only the positives' rows
        place = assignment.positive.flatten().nonzero().squeeze(1)
        image = place // max(1, count)
        column = place * per_class + (labels.flatten()[place] if per_class > 1 else 0)
        rows = deltas.reshape(batch * count * per_class, 4).index_select(0, column)
        boxes = targets.boxes[image, assignment.index.flatten()[place]]
        chosen = safe_candidates(candidate_rows(candidates, image, place - image * count))
        chosen = of_classes(chosen, labels.flatten()[place].unsqueeze(0))
        losses = self.box(rows.unsqueeze(0), boxes.unsqueeze(0), chosen).squeeze(0)
        return losses.new_zeros(batch).index_add(0, image, losses)
