"""Loss: predictions against their assignment -> named terms."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from detzoo.errors import RecipeError
from detzoo.feature import Component
from detzoo.interfaces.supporting import ClassLoss
from detzoo.types import Assignment, Candidates, Predictions, Scoring, Targets


class Loss(nn.Module, Component, ABC):
    """Turns predictions into weighted scalar terms, to be summed by whoever trains.

    ``accepts`` lists the scorings it can read; the build refuses a head whose scoring is not among them. A loss that is
    made of a class loss calls ``reads_through`` in its constructor.
    """

    kind: ClassVar[str] = "loss"
    accepts: tuple[Scoring, ...]
    __call__: Callable[..., dict[str, Tensor]]

    def reads_through(self, classification: ClassLoss) -> None:
        """Accept only what this class loss reads too.

        Raises:
            RecipeError: it reads none of the scorings that this loss can use.
        """
        both = tuple(scoring for scoring in self.accepts if scoring in classification.accepts)
        if not both:
            raise RecipeError(
                f"classification: it reads {' or '.join(classification.accepts)} scores, this loss only "
                f"{' or '.join(self.accepts)}; take another class loss"
            )
        self.accepts = both

    @abstractmethod
    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Return scalars by name. Without positives, or without candidates, each is a zero connected to the graph."""
