"""CenterNet's losses: a focal loss that Gaussians soften, and L1 of offsets and sizes."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.components.unreduced_losses import class_targets
from detzoo.errors import RecipeError
from detzoo.interfaces import BoxLoss, ClassLoss, Feature
from detzoo.ops.boxes import full_precision
from detzoo.types import Candidates

Exponent = Annotated[float, Field(ge=0)]


class PenaltyReducedFocal(ClassLoss):
    """(1 - p)^alpha -log p where the heatmap is 1, (1 - heat)^beta p^alpha -log(1 - p) elsewhere; summed over classes.

    Args:
        alpha: focusing exponent.
        beta: how much a cell near a centre is excused.

    Source: Zhou et al. 2019 (arXiv:1904.07850), eq. 1.
    """

    gives = frozenset({Feature.READS_QUALITY})
    needs = frozenset({Feature.SIGMOID_SCORES})

    def __init__(self, *, alpha: Exponent = 2.0, beta: Exponent = 4.0) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, logits: Tensor, labels: Tensor, quality: Tensor | None = None) -> Tensor:
        """Loss [B,N] of logits [B,N,K] against a heatmap [B,N,K]; without one, against 1 for labels [B,N]."""
        logits = full_precision(logits)
        heat = class_targets(labels, logits, quality)
        score = torch.sigmoid(logits)
        at_centre = (1 - score) ** self.alpha * F.softplus(-logits)
        elsewhere = (1 - heat) ** self.beta * score**self.alpha * F.softplus(logits)
        return torch.where(heat == 1, at_centre, elsewhere).sum(-1)


class CentreL1(BoxLoss):
    """Absolute differences of the centre's offset, and of the size, which counts less.

    Args:
        size_weight: factor of width and height.

    Source: Zhou et al. 2019 (arXiv:1904.07850), eq. 2-4: offset 1, size 0.1, in strides. The authors' code takes the
    mean of both coordinates in place of their sum: ``multibox`` with ``box_weight: 0.5``.
    """

    def __init__(self, *, size_weight: Annotated[float, Field(ge=0)] = 0.1) -> None:
        super().__init__()
        self.size_weight = size_weight

    def forward(
        self, deltas: Tensor, boxes: Tensor, candidates: Candidates, distribution: Tensor | None = None
    ) -> Tensor:
        """Loss [B,N] of deltas [B,N,4] against boxes [B,N,4]."""
        if candidates.coder is None:
            raise RecipeError("box loss centre_l1: the candidates have no box coder")
        truth = candidates.coder.encode(boxes, candidates.boxes, candidates.strides())
        off = (full_precision(deltas) - truth.detach()).abs()
        return off[..., :2].sum(-1) + self.size_weight * off[..., 2:].sum(-1)
