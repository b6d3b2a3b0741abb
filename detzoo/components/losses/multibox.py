"""Classification over positives and chosen negatives, localisation over positives: SSD, RPN, RoI heads, RetinaNet."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxLoss, ClassLoss, Loss, Miner, Normaliser
from detzoo.ops.matching import matched_labels, matched_weights
from detzoo.ops.positive_rows import positive_rows
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

    A positive's terms are multiplied by its ground truth's ``Targets.weight``; mining and divisors know no weights.

    RetinaNet, section 4: ``classification: {type: focal}`` over all candidates that are not ignored, no miner.

    Source: SSD, eq. 1; Caffe SSD MultiBoxLoss. Faster R-CNN, eq. 1; py-faster-rcnn RPN_POSITIVE_WEIGHT.
    """

    name: ClassVar[str] = "multibox"

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
        # reused, not called twice: a moving average would move twice
        box_divisor = divisor if self.box_normaliser is None else self.box_normaliser(assignment)
        labels = matched_labels(targets, assignment)
        chosen = self.mined(predictions.class_logits, labels, assignment)
        weight = matched_weights(targets, assignment)
        class_sums = self.class_sums(predictions.class_logits, labels, chosen, assignment.quality, weight)
        box_sums = self.box_sums(predictions, candidates, targets, assignment)
        return {
            "classification": self.class_weight * (class_sums / divisor).sum(),
            "box": self.box_weight * (box_sums / box_divisor).sum(),
        }

    def mined(self, logits: Tensor, labels: Tensor, assignment: Assignment) -> Tensor:
        """bool [B,N]: candidates whose class counts."""
        if self.miner is None:
            return assignment.positive | assignment.negative
        with torch.no_grad():
            # ranks only: the loss is computed again
            losses = self.classification(logits.detach(), labels, assignment.quality)
            return self.miner(losses, assignment)

    def class_sums(
        self,
        logits: Tensor,
        labels: Tensor,
        chosen: Tensor,
        quality: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """float32 [B]: class loss of the chosen, per image.

        Args:
            logits: float [B,N,C].
            labels: int64 [B,N].
            chosen: bool [B,N].
            quality: soft targets [B,N] or [B,N,K], or None.
            weight: float [B,N] of the candidates' losses, or None: 1.
        """
        # a look at the data costs the CPU nothing
        if not allows_dynamic_shapes(logits) or int(chosen.sum()) > chosen.numel() // MANY:
            losses = self.classification(logits, labels, quality)
            return torch.where(chosen, losses if weight is None else losses * weight, 0).sum(1)  # where: inf * 0 is NaN
        # few are chosen, so only their rows enter the graph; the shape depends on the data
        place = chosen.flatten().nonzero().squeeze(1)
        rows = logits.flatten(0, 1).index_select(0, place)
        soft = None if quality is None else quality.flatten(0, 1)[place].unsqueeze(0)
        losses = self.classification(rows.unsqueeze(0), labels.flatten()[place].unsqueeze(0), soft).squeeze(0)
        if weight is not None:
            losses = losses * weight.flatten()[place]
        return losses.new_zeros(logits.shape[0]).index_add(0, place // max(1, logits.shape[1]), losses)  # by image: [B]

    def box_sums(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> Tensor:
        """float32 [B]: box loss of the positives, per image."""
        rows = positive_rows(predictions, candidates, targets, assignment)
        return rows.sums(self.box(rows.deltas, rows.boxes, rows.candidates, rows.distribution))
