"""LW-DETR's and RF-DETR's loss: classes learn how good boxes are, and each group of queries finds all objects."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from detzoo.components.unreduced_losses import class_targets
from detzoo.interfaces import BoxLoss, ClassLoss, Feature
from detzoo.ops.boxes import full_precision
from detzoo.ops.loss_divisors import divisor_of
from detzoo.types import Assignment, Targets
from detzoo_detr.loss import QuerySetLoss, Target, Weight


class IouAwareBce(ClassLoss):
    """Cross-entropy of a score p with a target between p and the box's IoU q; negatives count p^gamma.

    A positive, in its class: -t log p - (1 - t) log(1 - p), where t = max(p^alpha q^(1 - alpha), least) has no
    gradient. Everything else: -p^gamma log(1 - p), whose factor has one.

    Args:
        alpha: share of the score in the target.
        gamma: focusing exponent of the negatives.
        least: lower bound of the target.

    Source: Chen et al. 2024 (LW-DETR, arXiv:2406.03459), section 3.2, eq. 1 (after Cai et al. 2023, Align-DETR,
    arXiv:2304.07527); roboflow/rf-detr, ``SetCriterion.loss_labels`` with ``ia_bce_loss``, whose settings are the
    defaults.
    """

    name: ClassVar[str] = "iou_aware_bce"
    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.25,
        gamma: Weight = 2.0,
        least: Annotated[float, Field(ge=0, le=1)] = 0.01,
    ) -> None:
        super().__init__()
        self.alpha, self.gamma, self.least = alpha, gamma, least

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N] and their quality [B,N] or [B,N,K]; None: 1."""
        logits = full_precision(logits)
        own = class_targets(labels, logits, None) > 0  # [B,N,K]
        score, yes, no = torch.sigmoid(logits), -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
        with torch.no_grad():
            target = score**self.alpha
            if quality is not None:
                share = quality if quality.ndim == logits.ndim else quality.unsqueeze(-1)
                target = target * share.to(target.dtype).clamp(min=0) ** (1 - self.alpha)
            target = target.clamp(min=self.least)
        return torch.where(own, target * yes + (1 - target) * no, score**self.gamma * no).sum(-1)


class GroupSetLoss(QuerySetLoss):
    """Classes of all candidates and boxes of the positives, where each object has a positive in each group of queries.

    Every term is a sum over candidates, divided by the number of objects in the batch times ``groups``, at least 1:
    the mean over groups. Heads that give groups name their predictions so that one call is one group, or all.

    Args:
        classification: loss of a class, unreduced: ``iou_aware_bce``.
        distance: loss of a box in the coder's units, unreduced: ``l1``.
        overlap: loss of a box by its overlap, unreduced: ``giou``.
        groups: of queries in training, as the head's; 1: none but the one that detects.
        target: the soft target of a positive: the ``iou`` of its predicted box with its ground truth, through which no
            gradient passes, or ``one``.
        class_weight: factor of the class term.
        distance_weight: factor of the first box term.
        overlap_weight: factor of the second.

    Source: Chen et al. 2023 (Group DETR, arXiv:2207.13085), section 3.2; LW-DETR (arXiv:2406.03459), section 3.2;
    transformers 5.24, ``LwDetrImageLoss``. Difference: ground truth that is ignored is no object.
    """

    name: ClassVar[str] = "group_set"

    def __init__(
        self,
        *,
        classification: ClassLoss,
        distance: BoxLoss,
        overlap: BoxLoss,
        groups: Annotated[int, Field(ge=1, le=64)] = 13,
        target: Target = "iou",
        class_weight: Weight = 1.0,
        distance_weight: Weight = 5.0,
        overlap_weight: Weight = 2.0,
    ) -> None:
        super().__init__(
            classification=classification,
            distance=distance,
            overlap=overlap,
            no_object_weight=1.0,
            target=target,
            class_weight=class_weight,
            distance_weight=distance_weight,
            overlap_weight=overlap_weight,
        )
        self.groups = groups

    def divisors(self, targets: Targets, assignment: Assignment) -> tuple[Tensor, Tensor]:
        """Scalars: objects of the batch times groups for every term, also objects that no query is left for."""
        objects = divisor_of(targets.usable * float(self.groups), scope="batch", at_least=1.0)
        return objects, objects
