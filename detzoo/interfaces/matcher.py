"""Matcher: candidates and ground truth -> assignment."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import nn

from detzoo.feature import Component
from detzoo.types import Assignment, Candidates, Predictions, Targets


class Matcher(nn.Module, Component, ABC):
    """Assigns ground truth to candidates. No gradient passes through it."""

    kind: ClassVar[str] = "matcher"
    __call__: Callable[..., Assignment]

    @abstractmethod
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        """Assign.

        Ground truth flagged ``ignore`` is never positive, and candidates that overlap it become IGNORE. Invalid
        candidates are IGNORE. With no ground truth every valid candidate is BACKGROUND.

        Args:
            candidates: [1 or B,N].
            targets: [B,M].
            predictions: for matchers that read predictions; else None.
        """
