"""TOOD's matching: the candidates that predict a ground truth best, by class and by place together."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.interfaces import Feature, Matcher
from detzoo.ops.boxes import full_precision, iou_matrix
from detzoo.ops.ignored_truth import leave_out_ignored
from detzoo.ops.label_assignment import centres_inside, predicted_boxes, settled
from detzoo.ops.matching import chunks, rows_used
from detzoo.ops.ranking import extreme_rows
from detzoo.ops.scores import scores_of
from detzoo.types import Assignment, Candidates, Predictions, Targets

Exponent = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
EPSILON: Final = 1e-7
"""Added to the best alignment before it divides, as in TOOD's release."""


class TaskAligned(Matcher):
    """Each ground truth takes the candidates with the highest alignment t = s^alpha u^beta.

    s is the predicted score of the ground truth's class, u the IoU of the predicted box. The ``top_k`` candidates whose
    t is positive and whose centre lies inside the ground truth are positive; one that several ground truths claim
    answers for the one that its predicted box overlaps most. ``Assignment.quality`` is t, scaled for each ground
    truth so that its best candidate has the highest u among its candidates.

    Args:
        top_k: candidates per ground truth.
        alpha: exponent of the score.
        beta: exponent of the IoU.
        ignore_by: overlap with ignored ground truth, such as crowds, is measured as ``iou`` or as the share of the
            candidate's ``area`` that it covers.
        ignore_threshold: background candidates that overlap ignored ground truth by at least this leave the loss.

    The paper's settings are the defaults, on one candidate per cell; AP 42.4 with its own head (ResNet-50, 1x, COCO).
    For its first 4 epochs TOOD matches by ``atss`` instead, while predictions mean nothing; this class does not.

    Source: Feng et al. 2021 (arXiv:2108.07755), section 3.2; mmdetection's ``TaskAlignedAssigner`` and
    ``TOODHead._get_target_single``. Of equal t the first candidate is taken, of equal IoU the first ground truth.
    """

    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.PREDICTIONS, Feature.CLASS_LOGITS, Feature.ONE_BOX})

    def __init__(
        self,
        *,
        top_k: Annotated[int, Field(gt=0)] = 13,
        alpha: Exponent = 1.0,
        beta: Exponent = 6.0,
        ignore_by: Literal["iou", "area"] = "area",
        ignore_threshold: Fraction = 0.5,
    ) -> None:
        super().__init__()
        self.top_k = top_k
        self.alpha = alpha
        self.beta = beta
        self.ignore_by = ignore_by
        self.ignore_threshold = ignore_threshold

    @torch.no_grad()
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign candidates [1 or B,N] to ground truth [B,M], with the quality [B,N] of the positives.

        Raises:
            RecipeError: it is shown no predictions.
        """
        if predictions is None or predictions.class_logits is None:
            raise RecipeError("matcher task_aligned: it judges what was predicted, and is shown no class predictions")
        batch, count = targets.labels.shape[0], candidates.boxes.shape[1]
        valid = candidates.valid.expand(batch, count)
        if count == 0:
            return Assignment(torch.zeros_like(valid, dtype=torch.int64), quality=valid.float())
        used = rows_used(targets.usable)
        rows, alignment, overlap = self.best(candidates, targets, predictions, used)  # [B,M,k] each
        claimed = (alignment > 0) & centres_inside(candidates, rows, targets.boxes[:, :used])
        claimed &= targets.usable[:, :used].unsqueeze(2)
        index = settled(rows, claimed, overlap, count)  # by IoU, not by alignment, as TaskAlignedAssigner
        quality = scaled(rows, alignment, overlap, index)
        index = leave_out_ignored(index, candidates, targets, by=self.ignore_by, threshold=self.ignore_threshold)
        return Assignment(index, quality=quality)

    def best(
        self, candidates: Candidates, targets: Targets, predictions: Predictions, used: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best candidates of the first ``used`` ground truths: rows, alignment and IoU, [B,M,k] each."""
        scores = scores_of(predictions).transpose(1, 2)  # [B,K,N]
        boxes = predicted_boxes(predictions, candidates)
        batch, classes, count = scores.shape
        size = min(self.top_k, count)
        empty = scores.new_zeros(batch, 0, size)
        found = [(empty.long(), empty, empty)]  # a batch without ground truth: cat needs one
        for part in chunks(4 * batch, used, count):  # 4: score, IoU, alignment and bits at once
            label = targets.labels[:, part].clamp(max=classes - 1).unsqueeze(2).expand(-1, -1, count)
            overlap = iou_matrix(full_precision(targets.boxes[:, part]), boxes)  # [B,m,N]
            alignment = scores.gather(1, label) ** self.alpha * overlap**self.beta
            alignment = torch.where(candidates.valid.unsqueeze(1), alignment, 0)
            rows = extreme_rows(alignment, size, largest=True)
            found.append((rows, alignment.gather(2, rows), overlap.gather(2, rows)))
        rows, alignment, overlap = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
        return rows, alignment, overlap


def scaled(rows: Tensor, alignment: Tensor, overlap: Tensor, index: Tensor) -> Tensor:
    """Soft targets of the positives: alignment over its highest, times the highest IoU, both of their ground truth.

    Args:
        rows: int64 [B,M,k] candidates.
        alignment: float [B,M,k].
        overlap: float [B,M,k].
        index: int64 [B,N], as they were settled.

    Returns:
        float32 [B,N] in [0,1]; 0 where there is no ground truth.
    """
    truth = torch.arange(rows.shape[1], device=rows.device).view(1, -1, 1)
    won = index.gather(1, rows.flatten(1)).view_as(rows) == truth
    own = torch.where(won, alignment, 0)
    # [B,M,k]
    quality = own / (own.amax(-1, keepdim=True) + EPSILON) * torch.where(won, overlap, 0).amax(-1, keepdim=True)
    return quality.new_zeros(index.shape).scatter_reduce(1, rows.flatten(1), quality.flatten(1), "amax")
