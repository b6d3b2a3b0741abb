"""D-FINE's loss: classes with soft targets, boxes, and distributions, which learn from each other.

Letters: B images, N queries, M ground truths, R bins.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.components.unreduced_losses import class_targets
from detzoo.interfaces import BoxCoder, ClassLoss, Feature, Loss, Normaliser
from detzoo.ops.boxes import cxcywh_to_xyxy, full_precision, giou, iou
from detzoo.ops.matching import matched_boxes, matched_labels, matched_weights, safe_candidates
from detzoo.types import Assignment, Candidates, Predictions, Targets
from detzoo_detr.box_coder import Fractions
from detzoo_detr.fine_grained import between_bins

Weight = Annotated[float, Field(ge=0)]
TEACHER: Final = "teacher"
"""Name of the ``Auxiliary`` in a layer's own ``aux`` whose predictions, without gradient, the layer learns from."""


class SplitLoss(Loss):
    """A loss whose class terms and box terms may see different assignments."""

    @abstractmethod
    def class_terms(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars by name."""

    @abstractmethod
    def box_terms(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Scalars by name, other names than those of the class terms."""

    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Both, of one assignment."""
        terms = self.class_terms(predictions, candidates, targets, assignment)
        return terms | self.box_terms(predictions, candidates, targets, assignment)


class DfineLoss(SplitLoss):
    """Classes towards the IoU of the matched box; L1 and GIoU of boxes; two terms of distributions.

    ``fine`` is the cross-entropy of the two bins on either side of the true distance, weighed by the box' IoU.
    ``distillation`` is the divergence of all distributions, matched or not, from those of the last layer, softened by a
    temperature: matched ones weigh their IoU, others the teacher's score, and the means over the two groups are joined
    by the square roots of their sizes.

    Args:
        classification: reads soft targets: ``varifocal`` in D-FINE, ``matchability_aware`` in DEIM.
        normaliser: the divisor of all terms but ``distillation``, which is a mean: positives of the whole batch.
        class_weight: factor of the class term.
        distance_weight: factor of L1, of centre and size in fractions of the image.
        overlap_weight: factor of 1 - GIoU.
        fine_weight: factor of ``fine``; 0: without (DEIMv2's atto, femto and pico).
        distillation_weight: factor of ``distillation``; 0: without.
        temperature: of the softened distributions.
        untaught: predictions without teacher, those of the last layer, have the term ``fine`` too: D-FINE's release.
            transformers 5.24 leaves it out.

    A head gives a layer its teacher as an ``Auxiliary`` named ``teacher`` in the ``aux`` of the layer's predictions.

    Source: Peng et al. 2024 (arXiv:2410.13842), section 4.2, eq. 4 to 6; Peterande/D-FINE, ``DFINECriterion``. There
    denoising queries join their groups by the sizes that the layer before had; here, and in transformers, by their own.
    transformers clamps predicted centres and sizes to the image before the loss; the release and this do not.
    """

    name: ClassVar[str] = "dfine"
    gives = frozenset({Feature.QUALITY_TARGETS})
    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.DISTRIBUTION})

    def __init__(
        self,
        *,
        classification: ClassLoss,
        normaliser: Normaliser,
        class_weight: Weight = 1.0,
        distance_weight: Weight = 5.0,
        overlap_weight: Weight = 2.0,
        fine_weight: Weight = 0.15,
        distillation_weight: Weight = 1.5,
        temperature: Annotated[float, Field(gt=0)] = 5.0,
        untaught: bool = True,
    ) -> None:
        super().__init__()
        self.classification, self.normaliser = classification, normaliser
        self.class_weight, self.distance_weight, self.overlap_weight = class_weight, distance_weight, overlap_weight
        self.fine_weight, self.distillation_weight = fine_weight, distillation_weight
        self.temperature, self.untaught = temperature, untaught

    def class_terms(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """``classification``, over all queries that are not ignored."""
        assert predictions.class_logits is not None
        boxes = Boxes(predictions, candidates, targets, assignment)
        labels, weight = matched_labels(targets, assignment), matched_weights(targets, assignment)
        losses = self.classification(predictions.class_logits, labels, boxes.quality(assignment))
        counted = assignment.positive | assignment.negative
        losses = torch.where(counted, losses if weight is None else losses * weight, 0).sum(1)
        return {"classification": self.class_weight * (losses / self.normaliser(assignment)).sum()}

    def box_terms(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """``distance`` and ``overlap``; ``fine`` where there are distributions, ``distillation`` beside a teacher."""
        boxes = Boxes(predictions, candidates, targets, assignment)
        weight, objects = matched_weights(targets, assignment), self.normaliser(assignment)

        def total(losses: Tensor) -> Tensor:
            kept = torch.where(assignment.positive, losses if weight is None else losses * weight, 0)
            return (kept.sum(1) / objects).sum()

        terms = {
            "distance": self.distance_weight * total((boxes.found - boxes.truth).abs().sum(-1)),
            "overlap": self.overlap_weight * total(1 - giou(cxcywh_to_xyxy(boxes.found), cxcywh_to_xyxy(boxes.truth))),
        }
        teacher = teacher_of(predictions)
        if predictions.distribution is None:
            return terms
        quality = boxes.quality(assignment)
        if self.fine_weight and (self.untaught or teacher is not None):
            fine = fine_grained_losses(predictions.distribution, candidates, boxes.truth_px, boxes.strides)
            terms["fine"] = self.fine_weight * total(quality * fine)
        if self.distillation_weight and teacher is not None:
            assert teacher.class_logits is not None
            assert teacher.distribution is not None
            losses = divergence(predictions.distribution, teacher.distribution, temperature=self.temperature)
            score = full_precision(teacher.class_logits).sigmoid().amax(-1)
            weighed = torch.where(assignment.positive, quality, score) * losses
            terms["distillation"] = self.distillation_weight * joined_means(weighed, assignment)
        return terms


class Boxes:
    """Predicted and true boxes, side by side; unmatched queries have safe ones.

    Args:
        predictions: [B,N], one box for all classes.
        candidates: [1 or B,N].
        targets: [B,M].
        assignment: [B,N].

    ``found`` and ``truth`` are float32 [B,N,4] cx, cy, w, h in fractions of the image, ``truth_px`` is xyxy px.
    """

    def __init__(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> None:
        places, image = safe_candidates(candidates), targets.region.unsqueeze(1)
        assert places.coder is not None
        self.strides = places.strides()
        decoded = places.coder.decode(predictions.deltas.squeeze(2), places.boxes, self.strides)
        self.truth_px = matched_boxes(candidates, targets, assignment)
        fractions: BoxCoder = Fractions()
        self.found = fractions.encode(decoded, image, self.strides)
        self.truth = fractions.encode(self.truth_px, image, self.strides)

    @torch.no_grad()
    def quality(self, assignment: Assignment) -> Tensor:
        """float32 [B,N]: IoU of the positives, 0 elsewhere."""
        overlap = iou(cxcywh_to_xyxy(self.found), cxcywh_to_xyxy(self.truth))
        return torch.where(assignment.positive, overlap, 0)


def teacher_of(predictions: Predictions) -> Predictions | None:
    """Whom a layer's predictions learn from."""
    return next((one.predictions for one in predictions.aux if one.name == TEACHER), None)


def fine_grained_losses(distribution: Tensor, candidates: Candidates, truth: Tensor, strides: Tensor) -> Tensor:
    """Cross-entropies of the bins around the true distances, interpolated and summed over edges.

    Args:
        distribution: float [B,N,4,R] logits.
        candidates: [1 or B,N]; their coder's bins are the distribution's.
        truth: float [B,N,4] xyxy px.
        strides: float [N].

    Returns:
        float32 [B,N].

    Source: D-FINE, eq. 4, without its weight.
    """
    places = safe_candidates(candidates)
    assert places.coder is not None
    assert places.coder.bins is not None
    with torch.no_grad():
        left, share = between_bins(places.coder.encode(truth, places.boxes, strides), places.coder.bins)
    logs = F.log_softmax(full_precision(distribution), dim=-1)
    both = logs.gather(-1, torch.stack([left, left + 1], dim=-1))  # [B,N,4,2]
    return -(both[..., 0] * (1 - share) + both[..., 1] * share).sum(-1)


def divergence(distribution: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the teacher's softened distributions from these, times the temperature squared.

    Args:
        distribution: float [B,N,4,R] logits.
        teacher: likewise; no gradient flows into it.
        temperature: what logits are divided by.

    Returns:
        float32 [B,N], the mean over the four edges.

    Source: D-FINE, eq. 6.
    """
    learned = F.log_softmax(full_precision(distribution) / temperature, dim=-1)
    taught = F.log_softmax(full_precision(teacher.detach()) / temperature, dim=-1)
    return temperature**2 * (taught.exp() * (taught - learned)).sum(-1).mean(-1)


def joined_means(losses: Tensor, assignment: Assignment) -> Tensor:
    """Means over positives and over negatives, weighed by the square roots of their numbers; 0 without either.

    Args:
        losses: float [B,N].
        assignment: [B,N].

    Source: D-FINE, eq. 5 and 6; a factor of both roots, the release's batch scale, makes no difference.
    """
    roots, total = losses.new_zeros(()), losses.new_zeros(())
    for group in (assignment.positive, assignment.negative):
        count = group.sum().to(losses.dtype)
        root = count.sqrt()
        roots = roots + root
        total = total + root * torch.where(group, losses, 0).sum() / count.clamp(min=1)
    return total / roots.clamp(min=1)


class MatchabilityAware(ClassLoss):
    """Cross-entropy with a target of q^gamma, weighed by 1 in the true class, and by alpha p^gamma in others; summed.

    Other than with ``varifocal``, a match of low quality costs as much as one of high quality.

    Args:
        gamma: exponent of quality and score: 1.5 in DEIM's releases.
        alpha: factor of negatives; null: 1 (DEIM).

    Source: Huang et al. 2025, DEIM (arXiv:2412.04234), eq. 3; transformers ``loss_labels_mal``.
    """

    name: ClassVar[str] = "matchability_aware"
    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(self, *, gamma: Weight = 1.5, alpha: Weight | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N] and their quality [B,N] or [B,N,K]."""
        logits = full_precision(logits)
        truth = class_targets(labels, logits, quality)
        own = class_targets(labels, logits, None)  # a class is the true one whatever the quality
        weight = torch.sigmoid(logits).detach() ** self.gamma * (1 - own)
        weight = own + weight * (1.0 if self.alpha is None else self.alpha)
        return (weight * F.binary_cross_entropy_with_logits(logits, truth**self.gamma, reduction="none")).sum(-1)
