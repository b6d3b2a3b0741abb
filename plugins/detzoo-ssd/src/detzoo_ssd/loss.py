"""SSD without mining: focal loss over all priors."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxLoss, Feature, Loss, Normaliser
from detzoo.ops.matching import matched_boxes, matched_labels, matched_weights, safe_candidates
from detzoo.types import IGNORE, Assignment, Candidates, Predictions, Targets


class SoftmaxFocal(Loss):
    """Focal loss on the softmax of background and K classes, in place of hard-negative mining.

    Every prior counts, weighted by (1 - p)^gamma of the probability p of its right column, and by ``alpha`` where it
    is positive, 1 - ``alpha`` where it is background.

    Args:
        box: box loss of the positives.
        normaliser: divides both terms.
        gamma: focusing exponent; 0 is weighted cross-entropy.
        alpha: weight of positives.
        class_weight: of the classification term.
        box_weight: of the box term.

    Source: Lin et al. 2017 (arXiv:1708.02002), section 3, carried over from sigmoids to one softmax.
    """

    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.SOFTMAX_SCORES})

    def __init__(
        self,
        *,
        box: BoxLoss,
        normaliser: Normaliser,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
        alpha: Annotated[float, Field(gt=0, lt=1)] = 0.75,
        class_weight: Annotated[float, Field(ge=0)] = 1.0,
        box_weight: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.box, self.normaliser = box, normaliser
        self.gamma, self.alpha = gamma, alpha
        self.class_weight, self.box_weight = class_weight, box_weight

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification`` and ``box``."""
        divisor, weight = self.normaliser(assignment), matched_weights(targets, assignment)
        classes = self._classification(predictions, targets, assignment)
        boxes = self._boxes(predictions, candidates, targets, assignment)
        classes, boxes = (one.sum(1) if weight is None else (one * weight).sum(1) for one in (classes, boxes))
        return {
            "classification": self.class_weight * (classes / divisor).sum(),
            "box": self.box_weight * (boxes / divisor).sum(),
        }

    def _classification(self, predictions: Predictions, targets: Targets, assignment: Assignment) -> Tensor:
        """float [B,N]; 0 where a candidate is ignored."""
        assert predictions.class_logits is not None
        column = matched_labels(targets, assignment) + 1  # background is column 0
        right = F.log_softmax(predictions.class_logits, -1).gather(-1, column[..., None])[..., 0]
        weight = torch.where(assignment.positive, self.alpha, 1 - self.alpha)
        loss = -weight * (-torch.expm1(right)) ** self.gamma * right  # 1 - p by expm1: exact where p is near 1
        return torch.where(assignment.index != IGNORE, loss, 0)

    def _boxes(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> Tensor:
        """float [B,N]; 0 where a candidate is not positive."""
        safe = safe_candidates(candidates)  # masked afterwards, but log(0) would leave a NaN gradient
        loss: Tensor = self.box(predictions.deltas[:, :, 0], matched_boxes(safe, targets, assignment), safe)
        return torch.where(assignment.positive, loss, 0)
