"""FCOS's loss: classes over all cells, boxes and centreness over the positives."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.components.losses.multibox import MultiBox
from detzoo.errors import RecipeError
from detzoo.interfaces import BoxLoss, ClassLoss, Feature, Loss, Normaliser
from detzoo.ops.box_coder import encode_edges
from detzoo.ops.boxes import full_precision
from detzoo.ops.matching import matched_boxes, matched_labels, matched_weights, safe_candidates
from detzoo.types import Assignment, Candidates, Predictions, Targets

Weight = Annotated[float, Field(ge=0)]


class FcosLoss(Loss):
    """Classification and boxes as in ``multibox``, and a cross-entropy of the centreness, all over one divisor.

    Args:
        classification: loss of a class, unreduced, over all cells that are not ignored.
        box: loss of a box, unreduced, over the positives.
        normaliser: the divisor of all three terms.
        class_weight: factor of the class term.
        box_weight: factor of the box term.
        centreness_weight: factor of the centreness term.

    Source: Tian et al. 2019 (arXiv:1904.01355), eq. 2 and 3; torchvision ``FCOSHead.compute_loss``. The authors'
    release also weighs the boxes by their centreness; neither the equation nor torchvision does.
    """

    name: ClassVar[str] = "fcos"
    needs = frozenset({Feature.CLASS_LOGITS, Feature.QUALITY_LOGITS, Feature.LEVELS})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        box: BoxLoss,
        normaliser: Normaliser,
        class_weight: Weight = 1.0,
        box_weight: Weight = 1.0,
        centreness_weight: Weight = 1.0,
    ) -> None:
        super().__init__()
        self.multibox = MultiBox(classification=classification, box=box, normaliser=normaliser)
        self.class_weight, self.box_weight = class_weight, box_weight
        self.centreness_weight = centreness_weight

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification``, ``box`` and ``centreness``; zeros connected to the graph where nothing counts."""
        assert predictions.class_logits is not None
        parts = self.multibox
        divisor = parts.normaliser(assignment)
        labels = matched_labels(targets, assignment)
        chosen, weight = assignment.positive | assignment.negative, matched_weights(targets, assignment)
        class_sums = parts.class_sums(predictions.class_logits, labels, chosen, assignment.quality, weight)
        sums = {
            "classification": self.class_weight * class_sums,
            "box": self.box_weight * parts.box_sums(predictions, candidates, targets, assignment),
            "centreness": self.centreness_weight * self.centreness_sums(predictions, candidates, targets, assignment),
        }
        return {name: (of_images / divisor).sum() for name, of_images in sums.items()}

    def centreness_sums(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> Tensor:
        """float32 [B]: cross-entropy of the positives' centreness."""
        if predictions.quality_logits is None:
            raise RecipeError(
                "loss fcos: the head predicts no centreness; use head: {type: fcos}, or loss: {type: multibox}"
            )
        logits = full_precision(predictions.quality_logits)
        truth = centreness(candidates, matched_boxes(candidates, targets, assignment)).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        weight = matched_weights(targets, assignment)
        losses = losses if weight is None else losses * weight
        return torch.where(assignment.positive, losses, 0).sum(1)  # only positives have a centre to be near to


def centreness(candidates: Candidates, boxes: Tensor) -> Tensor:
    """How close to the middle of its box the middle of each candidate lies, without gradient.

    sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)) of the distances to the edges: 1 in the middle, 0 on an edge.

    Args:
        candidates: [1 or B,N].
        boxes: float [B,N,4] xyxy px.

    Returns:
        float [B,N] in [0,1]; 0 outside the box.

    Source: FCOS, eq. 3.
    """
    places = safe_candidates(candidates).boxes
    distances = encode_edges(boxes, places, boxes.new_ones(1)).detach().clamp(min=0)  # px: the ratio knows no unit
    left_top, right_bottom = distances[..., :2], distances[..., 2:]
    least, most = torch.minimum(left_top, right_bottom), torch.maximum(left_top, right_bottom)
    return (least / most.clamp(min=torch.finfo(most.dtype).tiny)).prod(-1).sqrt()  # 0 / tiny: 0 for an empty box
