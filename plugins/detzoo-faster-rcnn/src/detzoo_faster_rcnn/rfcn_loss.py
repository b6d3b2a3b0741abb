"""R-FCN's loss: class and box terms over the hardest regions, judged by the sum of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxLoss, ClassLoss, Loss, Miner, Normaliser
from detzoo.ops.matching import matched_boxes, matched_labels, matched_weights, safe_candidates
from detzoo.types import IGNORE, Assignment, Candidates, Predictions, Targets

Weight = Annotated[float, Field(ge=0)]


class RfcnLoss(Loss):
    """Class loss and box loss of each region, added, mined, then normalised each by its own count.

    Online hard example mining: every region of an image is judged by its class loss plus, where it is positive, its box
    loss. ``miner`` (``ohem``: the 128 hardest of an image) sees all of them, duplicates included, and what it leaves
    out enters neither term. Give the box head ``sampler: {type: all}``, or the miner sees only what was sampled.

    Both normalisers count after mining. The released code divides the class loss by the mined regions of the batch
    (``sampled``, at most 128 per image) and the box loss by a constant, 256 for its two images (``fixed``, value 256).

    Args:
        classification: loss of a class, unreduced.
        box: loss of a box, unreduced; smooth L1 of beta 1 in the paper.
        normaliser: the divisor of the class term.
        box_normaliser: the divisor of the box term.
        miner: chooses the regions that count; null: all that are not ignored, as a sampler left them.
        class_weight: factor of the class loss, in the mined sum too.
        box_weight: factor of the box loss (the paper's lambda), in the mined sum too.

    Source: Dai et al. 2016 (arXiv:1605.06409), section 2, eq. 1 and "training"; OHEM: Shrivastava et al. 2016
    (arXiv:1604.03540), whose NMS before mining the released R-FCN leaves out; released layers
    BoxAnnotatorOHEM, SoftmaxWithLossOHEM and SmoothL1LossOHEM. Difference: the released one-image port (py-R-FCN)
    divides the boxes by 128; ``{type: fixed, value: 128, scope: image}`` is both.
    """

    name: ClassVar[str] = "rfcn"

    def __init__(
        self,
        *,
        classification: ClassLoss,
        box: BoxLoss,
        normaliser: Normaliser,
        box_normaliser: Normaliser,
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
        class_losses = self.class_losses(predictions, targets, assignment)
        box_losses = self.box_losses(predictions, candidates, targets, assignment)
        mined = self.mine(class_losses + box_losses, assignment)  # by the sum, as BoxAnnotatorOHEM
        kept, weight = mined.index != IGNORE, matched_weights(targets, assignment)
        if weight is not None:
            # after mining: how hard is not how important
            class_losses, box_losses = class_losses * weight, box_losses * weight
        class_sums = torch.where(kept, class_losses, 0).sum(1)
        box_sums = torch.where(kept, box_losses, 0).sum(1)
        return {
            "classification": (class_sums / self.normaliser(mined)).sum(),
            "box": (box_sums / self.box_normaliser(mined)).sum(),
        }

    def mine(self, losses: Tensor, assignment: Assignment) -> Assignment:
        """The assignment [B,N] in which all that was not mined, by ``losses`` [B,N], is IGNORE."""
        if self.miner is None:
            return assignment
        chosen = self.miner(losses.detach(), assignment)  # ranks only
        return replace(assignment, index=torch.where(chosen, assignment.index, IGNORE))

    def class_losses(self, predictions: Predictions, targets: Targets, assignment: Assignment) -> Tensor:
        """float [B,N]: weighted class loss of every region; meaningless where it is ignored."""
        assert predictions.class_logits is not None
        labels = matched_labels(targets, assignment)
        return self.class_weight * self.classification(predictions.class_logits, labels, assignment.quality)

    def box_losses(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> Tensor:
        """float [B,N]: weighted box loss of the positives, 0 elsewhere."""
        deltas = predictions.deltas  # [B,N,1 or K,4]
        if deltas.shape[2] > 1:
            column = matched_labels(targets, assignment).clamp(min=0)[:, :, None, None]
            deltas = deltas.gather(2, column.expand(-1, -1, 1, 4))
        # unmatched rows see a safe box: where() alone would not keep the NaN gradients of log(0) out
        losses = self.box(deltas[:, :, 0], matched_boxes(candidates, targets, assignment), safe_candidates(candidates))
        return self.box_weight * torch.where(assignment.positive, losses, 0)
