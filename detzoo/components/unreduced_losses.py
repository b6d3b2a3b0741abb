"""Unreduced loss terms: what a wrong class costs, and what a misplaced box costs."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import BoxCoder, BoxLoss, ClassLoss, Feature
from detzoo.ops.boxes import ciou, full_precision, giou, iou
from detzoo.ops.distributions import neighbouring_bins
from detzoo.ops.focal import focal_by_formula, focal_in_pieces
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import Candidates

PIECE: Final = 2048
"""Rows of logits whose loss the CPU computes at once, where no gradient is wanted."""


class CrossEntropy(ClassLoss):
    """Softmax cross-entropy; background is column 0 of the logits, private to them.

    Source: SSD, eq. 3.
    """

    needs = frozenset({Feature.SOFTMAX_SCORES})

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K+1] against labels [B,N], 0..K-1 or BACKGROUND."""
        column = (labels.clamp(min=-1) + 1).flatten()  # BACKGROUND, and anything below, is column 0
        flat = full_precision(logits).flatten(0, 1)
        if torch.is_grad_enabled() or not allows_dynamic_shapes(flat):
            return F.cross_entropy(flat, column, reduction="none").view(labels.shape)
        # mining reads every logit and keeps none: in pieces that stay in the cache it takes a fifth of the time
        pieces = zip(torch.split(flat, PIECE), torch.split(column, PIECE), strict=True)
        return torch.cat([F.cross_entropy(*piece, reduction="none") for piece in pieces]).view(labels.shape)


class BinaryCrossEntropy(ClassLoss):
    """Sigmoid cross-entropy, summed over classes; background is the row of all zeros.

    Source: YOLOv3, section 2.2; TensorFlow's SSD. With soft targets: YOLOv8.
    """

    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N], 0..K-1 or BACKGROUND."""
        logits = full_precision(logits)
        truth = class_targets(labels, logits, quality)
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(-1)


class Focal(ClassLoss):
    """Sigmoid focal loss, summed over classes: easy examples are weighted down by (1 - p)^gamma.

    Args:
        alpha: weight of the true class; 1 - alpha of the others. Null: no weighting.
        gamma: focusing exponent; 0 gives (weighted) binary cross-entropy.

    Source: RetinaNet, eq. 5; equal to torchvision's ``sigmoid_focal_loss`` to rounding.
    """

    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(
        self, *, alpha: Annotated[float, Field(ge=0, le=1)] | None = 0.25, gamma: Annotated[float, Field(ge=0)] = 2.0
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N], 0..K-1 or BACKGROUND."""
        logits = full_precision(logits)
        loss = focal_in_pieces if allows_dynamic_shapes(logits) else focal_by_formula
        return loss(logits, labels, alpha=self.alpha, gamma=self.gamma)


class QualityFocal(ClassLoss):
    """|y - p|^beta times the cross-entropy of p with a soft target y, summed over classes.

    y is the quality of a positive in its own class (in GFL the IoU of its predicted box), 0 everywhere else.

    Args:
        beta: focusing exponent.

    The paper's settings: beta 2, divided by the positives, next to ``giou`` (weight 2) and ``distribution_focal``
    (0.25); AP 40.2 on COCO minival, 40.3 on test-dev (ResNet-50, 90,000 steps of 16 images).

    Source: Li et al. 2020 (arXiv:2006.04388), section 3, quality focal loss; figures: implus/GFocal, README.
    """

    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(self, *, beta: Annotated[float, Field(ge=0)] = 2.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N] and their quality [B,N] or [B,N,K]."""
        logits = full_precision(logits)
        truth = class_targets(labels, logits, quality)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        # the factor has a gradient too
        return ((truth - torch.sigmoid(logits)).abs() ** self.beta * entropy).sum(-1)


class Varifocal(ClassLoss):
    """Cross-entropy with a soft target q: weighed by q where there is one, by alpha p^gamma where q is 0; summed.

    Args:
        alpha: weight of the negatives, of whom there are many; not the alpha of the focal loss.
        gamma: focusing exponent of the negatives.
        positives: which classes are weighed by q: those whose q is above 0 (``quality``: the paper), or the labelled
            one (``label``: RT-DETR), which costs nothing where its q is 0.
        weight_gradient: whether the weight of the negatives has a gradient too: RT-DETR's has none.

    Source: Zhang et al. 2020 (arXiv:2008.13367), section 3, whose settings are the defaults; mmdetection
    ``varifocal_loss``. RT-DETR's: its ``SetCriterion.loss_labels_vfl``.
    """

    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0)] = 0.75,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
        positives: Literal["quality", "label"] = "quality",
        weight_gradient: bool = True,
    ) -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma
        self.positives, self.weight_gradient = positives, weight_gradient

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against labels [B,N] and their quality [B,N] or [B,N,K]."""
        logits = full_precision(logits)
        truth = class_targets(labels, logits, quality)
        entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        scores = torch.sigmoid(logits if self.weight_gradient else logits.detach())
        positive = truth > 0 if self.positives == "quality" else class_targets(labels, logits, None) > 0
        # positives by q: unlike focal, never weighted down
        weight = torch.where(positive, truth, self.alpha * scores**self.gamma)
        return (weight * entropy).sum(-1)


class SmoothL1(BoxLoss):
    """Huber-like loss on encoded boxes: quadratic up to beta, linear beyond.

    Args:
        beta: where the two meet; 0 is L1. Faster R-CNN: 1/9 in the RPN, 1 in the RoI head; SSD 1; detectron2 0.

    Source: Fast R-CNN, eq. 3; beta = 1 / sigma² of py-faster-rcnn.
    """

    def __init__(self, *, beta: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] of deltas [B,N,4] against boxes [B,N,4], summed over the four coordinates."""
        deltas = full_precision(deltas)
        # safe boxes: no log(0)
        truth = _coder(candidates, "smooth_l1").encode(boxes, candidates.boxes, candidates.strides())
        return F.smooth_l1_loss(deltas, truth.to(deltas.dtype).detach(), reduction="none", beta=self.beta).sum(-1)


class L1(BoxLoss):
    """Absolute differences of encoded boxes."""

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] of deltas [B,N,4] against boxes [B,N,4], summed over the four coordinates."""
        deltas = full_precision(deltas)
        truth = _coder(candidates, "l1").encode(boxes, candidates.boxes, candidates.strides())
        return (deltas - truth.to(deltas.dtype).detach()).abs().sum(-1)


class Iou(BoxLoss):
    """1 - IoU of the decoded box, to a power.

    Boxes that do not touch have no gradient.

    Args:
        power: of the IoU; 1 as in the paper, 2 in YOLOX.

    Source: Yu et al. 2016 (UnitBox, arXiv:1608.01471), there -log IoU; Megvii-BaseDetection/YOLOX, ``IOUloss``.
    """

    def __init__(self, *, power: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] in [0,1] of deltas [B,N,4] against boxes [B,N,4]."""
        found = _coder(candidates, "iou").decode(full_precision(deltas), candidates.boxes, candidates.strides())
        return 1 - iou(found, boxes.to(found.dtype)) ** self.power


class Giou(BoxLoss):
    """1 - generalised IoU of the decoded box.

    Source: Rezatofighi et al., CVPR 2019.
    """

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] in [0,2] of deltas [B,N,4] against boxes [B,N,4]."""
        found = _coder(candidates, "giou").decode(full_precision(deltas), candidates.boxes, candidates.strides())
        return 1 - giou(found, boxes.to(found.dtype))  # in px: the gradient passes through the decoder


class Ciou(BoxLoss):
    """1 - complete IoU of the decoded box.

    Source: Zheng et al., AAAI 2020.
    """

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] of deltas [B,N,4] against boxes [B,N,4]."""
        # px, xyxy
        found = _coder(candidates, "ciou").decode(full_precision(deltas), candidates.boxes, candidates.strides())
        return 1 - ciou(found, boxes.to(found.dtype))


class DistributionFocal(BoxLoss):
    """Cross-entropy of the two bins around the true distance, weighed by how near each is; the mean of the four edges.

    Being a cross-entropy with a soft target, it is not 0 for the best of distributions, unless the distance is a bin's.

    Source: Li et al. 2020 (arXiv:2006.04388), section 3, distribution focal loss. Its release takes the mean of the
    four edges, and a weight of 0.25 in addition.
    """

    needs = frozenset({Feature.DISTRIBUTION})

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] of a distribution [B,N,4,R] against boxes [B,N,4]; deltas play no part.

        Raises:
            RecipeError: the head predicts no distribution, or its coder has no bins.
        """
        coder = _coder(candidates, "distribution_focal")
        if distribution is None or coder.bins is None:
            raise RecipeError(
                "box_loss distribution_focal: the head predicts no distribution; use a head that does, "
                "with box_coder: {type: bins}"
            )
        logits = full_precision(distribution)
        # within the bins: Bins clamps
        distance = coder.encode(boxes, candidates.boxes, candidates.strides()).to(logits.dtype).detach()
        left, share = neighbouring_bins(distance, coder.bins)
        costs = -torch.log_softmax(logits, dim=-1)  # one pass for both bins
        near, far = (costs.gather(-1, row.unsqueeze(-1)).squeeze(-1) for row in (left, left + 1))
        return ((1 - share) * near + share * far).mean(-1)


def class_targets(labels: Tensor, like: Tensor, quality: Tensor | None) -> Tensor:
    """What each class' score should be.

    Args:
        labels: int64 [B,N], 0..K-1 or BACKGROUND.
        like: float [B,N,K], for width and dtype.
        quality: float [B,N] of the labelled class, or [B,N,K] of every class, or None: 1.

    Returns:
        [B,N,K] in the dtype of ``like``; without a quality [B,N,K], rows of zeros for BACKGROUND.
    """
    if quality is not None and quality.ndim == like.ndim:
        return quality.to(like.dtype)
    classes = torch.arange(like.shape[-1], device=labels.device)
    truth = (labels.unsqueeze(-1) == classes).to(like.dtype)
    return truth if quality is None else truth * quality.to(like.dtype).unsqueeze(-1)


def _coder(candidates: Candidates, name: str) -> BoxCoder:
    if candidates.coder is None:
        raise RecipeError(f"box_loss {name}: the candidates carry no box coder; give the head one (`coder: ...`)")
    return candidates.coder
