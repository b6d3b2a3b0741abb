"""Classes against soft targets, boxes weighed by how good their candidate is: GFL, TOOD, VarifocalNet, YOLOv8."""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.components.losses.multibox import MultiBox
from detzoo.errors import RecipeError
from detzoo.interfaces import BoxLoss, ClassLoss, Feature, Loss, Normaliser
from detzoo.ops.boxes import full_precision, iou
from detzoo.ops.matching import matched_labels, matched_weights
from detzoo.ops.positive_rows import PositiveRows, positive_rows
from detzoo.types import Assignment, Candidates, Predictions, Targets

Weight = Annotated[float, Field(ge=0)]


class QualityMultiBox(Loss):
    """``multibox`` with soft targets: the score of a positive should say how good its box is.

    Args:
        classification: loss of a class that reads soft targets: ``quality_focal``, ``varifocal``,
            ``binary_cross_entropy``.
        box: loss of a box, unreduced.
        normaliser: the divisor of the class term; ``qualities`` is the sum of the soft targets.
        distribution: loss of the distribution that the box is the mean of: ``distribution_focal``; null: no such term.
        box_normaliser: the divisor of the box terms; ``qualities`` is the sum of the weights that ``box_by`` gives
            them. Null: the same as the class term's.
        target: the soft target of a positive: the ``iou`` of its predicted box with its ground truth, through which no
            gradient passes, or the quality that the ``matcher`` gave.
        box_by: what a positive's box terms are multiplied by, without gradient: its highest class ``score``, its soft
            ``target``, or ``one``.
        class_weight: factor of the class term.
        box_weight: factor of the box term.
        distribution_weight: factor of the distribution term.

    GFL: ``classification: {type: quality_focal}, distribution: {type: distribution_focal}``, ``giou``, ``normaliser:
    {type: positives}, box_normaliser: {type: qualities}`` and the defaults. TOOD: ``target: matcher, box_by: target,
    normaliser: {type: qualities}`` with the matcher ``task_aligned``. VarifocalNet: ``varifocal`` and ``box_by:
    target``.

    A positive's terms are multiplied by its ground truth's ``Targets.weight``; divisors know no such weights.

    Source: Li et al. 2020 (arXiv:2006.04388), section 3, with the weights of boxes of its release
    (``GFLHead.loss_single``); Feng et al. 2021 (arXiv:2108.07755), section 3.2; Zhang et al. 2020 (arXiv:2008.13367).
    """

    name: ClassVar[str] = "quality_multibox"
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.CLASS_LOGITS, Feature.SIGMOID_SCORES})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        box: BoxLoss,
        normaliser: Normaliser,
        distribution: BoxLoss | None = None,
        box_normaliser: Normaliser | None = None,
        target: Literal["iou", "matcher"] = "iou",
        box_by: Literal["score", "target", "one"] = "score",
        class_weight: Weight = 1.0,
        box_weight: Weight = 2.0,
        distribution_weight: Weight = 0.25,
    ) -> None:
        super().__init__()
        self.multibox = MultiBox(
            classification=classification, box=box, normaliser=normaliser, box_normaliser=box_normaliser
        )
        self.distribution = distribution
        if target == "matcher":
            self.gives, self.needs = frozenset(), self.needs | {Feature.QUALITY_TARGETS}
        self.target, self.box_by = target, box_by
        self.class_weight, self.box_weight = class_weight, box_weight
        self.distribution_weight = distribution_weight

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars ``classification``, ``box`` and, where there is such a loss, ``distribution``.

        Raises:
            RecipeError: soft targets should come from the matcher, which gives none.
        """
        assert predictions.class_logits is not None
        parts = self.multibox
        rows = positive_rows(predictions, candidates, targets, assignment)
        labels, weight = matched_labels(targets, assignment), matched_weights(targets, assignment)
        quality = self.soft_targets(rows, assignment)
        judged = dataclasses.replace(assignment, quality=quality)
        share = self.box_shares(predictions.class_logits, labels, quality, rows)
        divisor = box_divisor = parts.normaliser(judged)
        if parts.box_normaliser is not None:  # GFL: classes by positives, boxes by the sum of their weights
            box_divisor = parts.box_normaliser(dataclasses.replace(assignment, quality=rows.everywhere(share)))
        chosen = assignment.positive | assignment.negative  # no sampling: the focal factor does its work
        class_sums = parts.class_sums(predictions.class_logits, labels, chosen, quality, weight)
        given = (rows.deltas, rows.boxes, rows.candidates, rows.distribution)
        terms = {
            "classification": self.class_weight * (class_sums / divisor).sum(),
            "box": self.box_weight * (rows.sums(share * parts.box(*given)) / box_divisor).sum(),
        }
        if self.distribution is not None:
            sums = rows.sums(share * self.distribution(*given))
            terms["distribution"] = self.distribution_weight * (sums / box_divisor).sum()
        return terms

    @torch.no_grad()
    def soft_targets(self, rows: PositiveRows, assignment: Assignment) -> Tensor:
        """[B,N] of the positives' own class, or [B,N,K] where the matcher gave that."""
        if self.target == "matcher":
            if assignment.quality is None:
                raise RecipeError(
                    "loss quality_multibox: target: matcher, but the matcher gives no quality; use matcher: "
                    "{type: task_aligned}, or target: iou"
                )
            return assignment.quality
        coder, places = rows.candidates.coder, rows.candidates
        deltas = full_precision(rows.deltas)
        found = places.boxes if coder is None else coder.decode(deltas, places.boxes, places.strides())
        return rows.everywhere(iou(found, rows.boxes.to(found.dtype)))

    @torch.no_grad()
    def box_shares(self, logits: Tensor, labels: Tensor, quality: Tensor, rows: PositiveRows) -> Tensor:
        """What the box terms of ``rows`` are multiplied by, [1,P] or [B,N]."""
        if self.box_by == "score":
            # GFLHead.loss_single: the highest class, detached
            return torch.sigmoid(full_precision(rows.of(logits))).amax(-1)
        if self.box_by == "one":
            return torch.ones_like(rows.of(labels), dtype=torch.float32)
        if quality.ndim == logits.ndim:  # [B,N,K]
            # background reads class 0, and is masked later
            quality = quality.gather(2, labels.clamp(min=0).unsqueeze(2)).squeeze(2)
        return rows.of(quality)
