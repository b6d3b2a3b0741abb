"""What a loss is divided by. Sums are taken over processes, so that N processes equal one: ``ops/loss_divisors.py``."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Normaliser
from detzoo.ops.loss_divisors import divisor_of
from detzoo.types import Assignment

Positive = Annotated[float, Field(gt=0)]


class Positives(Normaliser):
    """The number of positives.

    Args:
        scope: ``batch``: one divisor for the whole batch (Caffe SSD, RetinaNet's Detectron). ``image``: each image's
            loss by its own positives, then the mean over images (torchvision's RetinaNet, ljanyst's SSD).
        at_least: lower bound of the count, against division by zero.
    """

    def __init__(self, *, scope: Literal["batch", "image"] = "batch", at_least: Positive = 1.0) -> None:
        super().__init__()
        self.scope = scope
        self.at_least = at_least

    @torch.no_grad()
    def forward(self, assignment: Assignment) -> Tensor:
        """float32 scalar, or [B] with the factor B of the mean over images."""
        return divisor_of(assignment.positive, scope=self.scope, at_least=self.at_least)


class Sampled(Normaliser):
    """The number of candidates in the loss, positive and negative: Faster R-CNN's 256 or 512 per image.

    Args:
        scope: as for ``positives``.
        at_least: lower bound of the count.
    """

    def __init__(self, *, scope: Literal["batch", "image"] = "batch", at_least: Positive = 1.0) -> None:
        super().__init__()
        self.scope = scope
        self.at_least = at_least

    @torch.no_grad()
    def forward(self, assignment: Assignment) -> Tensor:
        """float32 scalar, or [B] with the factor B of the mean over images."""
        return divisor_of(assignment.positive | assignment.negative, scope=self.scope, at_least=self.at_least)


class Qualities(Normaliser):
    """The sum of the soft targets of the positives; their number where there are no soft targets.

    TOOD divides by the sum of its alignments. A loss that weighs boxes by something else, as GFL by the highest class
    score, hands these weights over as the quality.

    Args:
        scope: as for ``positives``.
        at_least: lower bound of the sum.
    """

    def __init__(self, *, scope: Literal["batch", "image"] = "batch", at_least: Positive = 1.0) -> None:
        super().__init__()
        self.scope = scope
        self.at_least = at_least

    @torch.no_grad()
    def forward(self, assignment: Assignment) -> Tensor:
        """float32 scalar, or [B] with the factor B of the mean over images; a quality [B,N,K] is summed over K."""
        amounts, quality = assignment.positive, assignment.quality
        if quality is not None:
            each = quality.sum(-1) if quality.ndim == 3 else quality
            amounts = torch.where(assignment.positive, each, 0)  # of positives alone, whatever the matcher rates
        return divisor_of(amounts, scope=self.scope, at_least=self.at_least)


class Fixed(Normaliser):
    """A constant: R-FCN's 256, or the 2,400 locations of the Faster R-CNN paper.

    Args:
        value: the divisor.
        scope: of the whole ``batch`` of one process, or of each ``image``, followed by the mean over images.
    """

    def __init__(self, *, value: Positive, scope: Literal["batch", "image"] = "image") -> None:
        super().__init__()
        self.value = value
        self.scope = scope

    @torch.no_grad()
    def forward(self, assignment: Assignment) -> Tensor:
        """float32 scalar, or [B]."""
        batch = assignment.index.shape[0]
        if self.scope == "image":
            # times B: the mean over images
            return torch.full((batch,), self.value * max(1, batch), device=assignment.index.device)
        return torch.full((), self.value, device=assignment.index.device)  # made there: nothing to wait for


class MovingAverage(Normaliser):
    """An exponential average of the number of positives, steadier than the count of a small batch.

    Args:
        start: first value of the average.
        momentum: weight of the past.
        at_least: lower bound of each new count.

    It moves only while gradients are computed, so that measuring a validation loss changes nothing.

    Source: detectron2's RetinaNet, ``_ema_update`` (start 100, momentum 0.9), there with one process's count.
    """

    average: Tensor

    def __init__(
        self,
        *,
        start: Positive = 100.0,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        at_least: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.at_least = at_least
        self.register_buffer("average", torch.tensor(float(start)))  # a buffer: resuming goes on from it

    def forward(self, assignment: Assignment) -> Tensor:
        """float32 scalar."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                count = divisor_of(assignment.positive, scope="batch", at_least=self.at_least)
                # in place: the registered buffer stays the same tensor
                self.average.copy_(self.momentum * self.average + (1 - self.momentum) * count)
        return self.average.clone()  # the buffer changes in place at the next step, and the graph may still hold it
