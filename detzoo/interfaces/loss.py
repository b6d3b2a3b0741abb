"""Loss: predictions against their assignment -> named terms."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from detzoo.types import Assignment, Candidates, Predictions, Scoring, Targets


class Loss(nn.Module, ABC):
    """Turns predictions into weighted scalar terms, to be summed by whoever trains.

    ``accepts`` lists the scorings it can read; the build refuses a head whose scoring is not among them.
    """

    kind: ClassVar[str] = "loss"
    accepts: ClassVar[tuple[Scoring, ...]]
    __call__: Callable[..., dict[str, Tensor]]

    @abstractmethod
    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Return scalars by name. Without positives, or without candidates, each is a zero connected to the graph."""
