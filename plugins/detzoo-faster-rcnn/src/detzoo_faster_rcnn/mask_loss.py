"""The loss of masks: cross-entropy of every pixel, in the channel of the true class alone."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import DataError
from detzoo.interfaces import MaskLoss
from detzoo.ops.masks import mask_targets
from detzoo.ops.matching import matched_labels, matched_weights
from detzoo.ops.ranking import allows_dynamic_shapes
from detzoo.types import Assignment, Candidates, Targets


class MaskBce(MaskLoss):
    """Binary cross-entropy of the positives' masks, averaged over positives and pixels.

    Only the channel of the ground truth's class counts. A positive whose ground truth has no mask is left
    out, so boxes with and without masks can be trained on together.

    Args:
        weight: factor of the term.

    Source: He et al. 2017 (arXiv:1703.06870), section 3; torchvision ``maskrcnn_loss``.
    """

    def __init__(self, *, weight: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(
        self, logits: Tensor, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """The scalar ``mask``; a zero connected to the graph where no positive has a mask.

        Raises:
            DataError: the targets come without masks.
        """
        if targets.masks is None or targets.mask_row is None:
            raise DataError(
                "mask_bce got targets without masks: a mask head is trained on data with masks "
                "(COCO `segmentation`, or a folder of mask images); make the targets with masks, or train "
                "a recipe without `mask`"
            )
        row = _mask_rows(targets.mask_row, assignment).flatten()  # [B*P]
        label = matched_labels(targets, assignment).flatten()
        boxes = candidates.boxes.detach().expand(*assignment.index.shape, 4).flatten(0, 1)  # targets carry no gradient
        share = matched_weights(targets, assignment)
        share = None if share is None else share.flatten()
        return {"mask": self.weight * _mean_entropy(logits.flatten(0, 1), targets.masks, boxes, row, label, share)}


def _mask_rows(mask_row: Tensor, assignment: Assignment) -> Tensor:
    """int64 [B,P]: row of the mask that each positive should predict; -1 for all that have none."""
    if mask_row.shape[1] == 0:
        return torch.full_like(assignment.index, -1)
    own = mask_row.gather(1, assignment.index.clamp(min=0))  # negatives read row 0, and are masked out
    return torch.where(assignment.positive, own, -1)


def _mean_entropy(
    logits: Tensor, masks: Tensor, boxes: Tensor, row: Tensor, label: Tensor, share: Tensor | None
) -> Tensor:
    """Mean over regions with a mask and over pixels, of logits [R,K,m,m], boxes [R,4], row [R] and label [R].

    Each region counts its ``share`` [R], that of its ground truth, where there is one.
    """
    if allows_dynamic_shapes(logits):  # few regions count: only their channels enter the graph
        place = (row >= 0).nonzero().squeeze(1)
        channel = label[place].clamp(max=logits.shape[1] - 1)  # a mask for all classes alike is channel 0
        own, wanted = logits[place, channel], mask_targets(masks, boxes[place], row[place], logits.shape[-1])
        if share is not None and len(place):
            each = F.binary_cross_entropy_with_logits(own, wanted, reduction="none").mean((1, 2))
            return (each * share[place]).mean()
        # in the graph: DDP needs it
        return F.binary_cross_entropy_with_logits(own, wanted) if len(place) else logits.sum() * 0
    channel = label.clamp(min=0, max=logits.shape[1] - 1)[:, None, None, None]
    own = logits.gather(1, channel.expand(-1, 1, *logits.shape[2:])).squeeze(1)
    wanted = mask_targets(masks, boxes, row, logits.shape[-1])
    entropy = F.binary_cross_entropy_with_logits(own, wanted, reduction="none").mean((1, 2))
    entropy = entropy if share is None else entropy * share
    return torch.where(row >= 0, entropy, 0).sum() / (row >= 0).sum().clamp(min=1)  # the same mean, in static shapes
