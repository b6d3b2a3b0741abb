"""YOLOX's loss: boxes and classes of the positives, objectness of all cells, and L1 at the end of training."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxLoss, ClassLoss, Feature, Loss, Normaliser
from detzoo.ops.boxes import full_precision
from detzoo.ops.matching import matched_labels
from detzoo.ops.positive_rows import positive_rows
from detzoo.types import Assignment, Candidates, Predictions, Targets

Weight = Annotated[float, Field(ge=0)]


class YoloxLoss(Loss):
    """The sum over an image's positives of box, class and late box loss, and over all cells of the objectness.

    Args:
        classification: loss of a class, unreduced, over the positives alone; its soft target is
            ``Assignment.quality``, the IoU of the predicted box.
        box: loss of a box, unreduced: ``iou``, squared.
        late_box: a second one that is added at the end of training: ``l1`` of the deltas; null: none.
        late_from: part of the training after which it is. YOLOX's last 15 of 300 epochs: 0.95.
        normaliser: the divisor of all terms.
        box_weight: factor of ``box``.
        class_weight: factor of the class term.
        objectness_weight: factor of the objectness term.
        late_weight: factor of ``late_box``.

    A positive's terms are multiplied by its ground truth's ``Targets.weight``; its objectness is not.

    Source: Ge et al. 2021 (arXiv:2107.08430), section 2.1; Megvii-BaseDetection/YOLOX, ``YOLOXHead.get_losses``.
    """

    name: ClassVar[str] = "yolox"
    needs = frozenset({Feature.CLASS_LOGITS, Feature.QUALITY_LOGITS, Feature.SIGMOID_SCORES, Feature.ONE_BOX})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        box: BoxLoss,
        normaliser: Normaliser,
        late_box: BoxLoss | None = None,
        late_from: Annotated[float, Field(ge=0, le=1)] = 0.95,
        box_weight: Weight = 5.0,
        class_weight: Weight = 1.0,
        objectness_weight: Weight = 1.0,
        late_weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.classification, self.box, self.normaliser = classification, box, normaliser
        self.late_box, self.late_from = late_box, late_from
        self.box_weight, self.class_weight = box_weight, class_weight
        self.objectness_weight, self.late_weight = objectness_weight, late_weight

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``box``, ``classification``, ``objectness`` and, where there is such a loss, ``late_box``."""
        assert predictions.class_logits is not None
        rows = positive_rows(predictions, candidates, targets, assignment)
        labels = matched_labels(targets, assignment)
        quality = None if assignment.quality is None else rows.of(assignment.quality)
        given = (rows.deltas, rows.boxes, rows.candidates, rows.distribution)
        classes = self.classification(rows.of(predictions.class_logits), rows.of(labels), quality)
        sums = {
            "box": self.box_weight * rows.sums(self.box(*given)),
            "classification": self.class_weight * rows.sums(classes),
            "objectness": self.objectness_weight * objectness_sums(predictions, assignment),
        }
        if self.late_box is not None:
            late = rows.sums(self.late_box(*given))
            sums["late_box"] = self.late_weight * torch.where(self._is_late(targets), late, 0)
        divisor = self.normaliser(assignment)
        return {name: (of_images / divisor).sum() for name, of_images in sums.items()}

    def _is_late(self, targets: Targets) -> Tensor:
        """bool scalar: a tensor, for reading it would make a GPU wait."""
        progress = targets.boxes.new_zeros(()) if targets.progress is None else targets.progress
        return progress >= self.late_from


def objectness_sums(predictions: Predictions, assignment: Assignment) -> Tensor:
    """float32 [B]: cross-entropy of the objectness of positives and background; ignored cells cost nothing."""
    if predictions.quality_logits is None:
        raise RecipeError(
            "loss yolox: the head predicts no objectness; use head: {type: yolox}, or loss: {type: multibox}"
        )
    logits = full_precision(predictions.quality_logits)
    losses = F.binary_cross_entropy_with_logits(logits, assignment.positive.to(logits.dtype), reduction="none")
    return torch.where(assignment.positive | assignment.negative, losses, 0).sum(1)
