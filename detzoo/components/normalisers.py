"""What a loss is divided by. Counts are summed over processes, so that N processes equal one.

Data-parallel training averages gradients over P processes, so a batch-wide divisor is the sum of the counts over all
processes divided by P: the mean of the processes' losses is then the loss of the whole batch in one process.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, distributed

from detzoo.interfaces import Normaliser
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
        return _divisor(assignment.positive, self.scope, self.at_least)


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
        return _divisor(assignment.positive | assignment.negative, self.scope, self.at_least)


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
            return torch.full((batch,), self.value * max(1, batch), device=assignment.index.device)
        return torch.tensor(self.value, device=assignment.index.device)


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
        self.register_buffer("average", torch.tensor(float(start)))

    def forward(self, assignment: Assignment) -> Tensor:
        """float32 scalar."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                count = _divisor(assignment.positive, "batch", self.at_least)
                self.average.copy_(self.momentum * self.average + (1 - self.momentum) * count)
        return self.average.clone()


def _divisor(counted: Tensor, scope: Literal["batch", "image"], at_least: float) -> Tensor:
    """Entries of ``counted`` bool [B,N]: per process of the whole world, or [B] times B."""
    if scope == "image":
        return counted.sum(1).float().clamp(min=at_least) * max(1, counted.shape[0])
    total = counted.sum().float()
    processes = 1
    if distributed.is_available() and distributed.is_initialized():
        processes = distributed.get_world_size()
        distributed.all_reduce(total)
    return total.clamp(min=at_least) / processes
