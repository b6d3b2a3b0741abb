"""Which candidates count, judged by their loss."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Miner
from detzoo.ops.sampling import choose_largest
from detzoo.types import Assignment


class HardNegative(Miner):
    """All positives, and the negatives of highest loss: a fixed number for each positive.

    Args:
        ratio: negatives per positive, rounded down to whole negatives.
        scope: count and rank within each ``image`` (Caffe, torchvision) or over the whole ``batch``.
        min_negatives: negatives kept even without positives; 0 means that an image without objects gives no loss.

    Source: SSD, section 2.2, hard negative mining; Caffe SSD ``MineHardExamples`` with MAX_NEGATIVE.
    """

    def __init__(
        self,
        *,
        ratio: Annotated[float, Field(ge=0)] = 3.0,
        scope: Literal["image", "batch"] = "image",
        min_negatives: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.scope = scope
        self.min_negatives = min_negatives

    @torch.no_grad()
    def forward(self, losses: Tensor, assignment: Assignment) -> Tensor:
        """bool [B,N] from losses [B,N]."""
        positive, negative = assignment.positive, assignment.negative
        if self.scope == "batch":
            losses, positive, negative = (t.reshape(1, -1) for t in (losses, positive, negative))
        # 1e-6 below a whole number is a whole number: 2.9999... of (1 - .25) / .25 is 3
        count = (positive.sum(1) * self.ratio + 1e-6).floor().long().clamp(min=self.min_negatives)
        chosen = positive | choose_largest(losses, negative, count)  # Caffe keeps all positives
        return chosen.view_as(assignment.index)


class Ohem(Miner):
    """The candidates of highest loss in each image, positive or negative.

    Args:
        size: candidates kept per image.

    Source: Shrivastava et al., OHEM, CVPR 2016, as in R-FCN: over all regions, without the paper's NMS before it.
    """

    def __init__(self, *, size: Annotated[int, Field(gt=0)] = 128) -> None:
        super().__init__()
        self.size = size

    @torch.no_grad()
    def forward(self, losses: Tensor, assignment: Assignment) -> Tensor:
        """bool [B,N] from losses [B,N]."""
        return choose_largest(losses, assignment.positive | assignment.negative, self.size, at_most=self.size)  # [B,N]
