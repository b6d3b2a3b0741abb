"""Which candidates enter the loss; the others become IGNORE."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from detzoo.interfaces import Sampler
from detzoo.ops.sampling import choose_random
from detzoo.types import IGNORE, Assignment


class All(Sampler):
    """Keeps every candidate."""

    size = None

    def forward(self, assignment: Assignment) -> Assignment:
        """The assignment as it is."""
        return assignment


class RandomFraction(Sampler):
    """A random draw per image with a bounded share of positives; negatives fill the rest.

    Args:
        size: candidates kept per image.
        positive_fraction: at most this share of them is positive.

    Source: Faster R-CNN, section 3.1.3 (256, 0.5); Fast R-CNN, section 2.3 (128, 0.25).
    """

    def __init__(
        self,
        *,
        size: Annotated[int, Field(gt=0)] = 256,
        positive_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        super().__init__()
        self.size = size
        self.positive_fraction = positive_fraction
        self.most_positives = int(size * positive_fraction)  # cut, as torchvision's BalancedPositiveNegativeSampler

    @torch.no_grad()
    def forward(self, assignment: Assignment) -> Assignment:
        """Thin [B,N], drawing from torch's generator of the device."""
        assert self.size is not None
        assert self.most_positives is not None
        bound = self.most_positives
        positive = choose_random(assignment.positive, bound, at_most=bound)
        room = self.size - positive.sum(1)  # [B]: images short of positives get more negatives
        chosen = positive | choose_random(assignment.negative, room, at_most=self.size)
        return replace(assignment, index=torch.where(chosen, assignment.index, IGNORE))  # IGNORE: shapes stay static
