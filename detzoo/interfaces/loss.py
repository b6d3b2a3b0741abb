"""Loss: predictions against their assignment -> named terms; MaskLoss: the same for masks."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from detzoo.feature import Component, Feature
from detzoo.types import Assignment, Candidates, Predictions, Targets


class Loss(nn.Module, Component, ABC):
    """Turns predictions into weighted scalar terms, which the training loop sums.

    ``needs`` names what it reads. It names a way of scoring only if the loss reads class logits itself: a
    class loss inside it declares its own.
    """

    kind: ClassVar[str] = "loss"
    needs = frozenset({Feature.CLASS_LOGITS})
    __call__: Callable[..., dict[str, Tensor]]

    @abstractmethod
    def forward(
        self, predictions: Predictions, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Return scalars by name. Without positives, or without candidates, each is a zero connected to the graph."""


class MaskLoss(nn.Module, Component, ABC):
    """Turns mask logits into weighted scalar terms."""

    kind: ClassVar[str] = "mask_loss"
    needs = frozenset({Feature.MASK_LOGITS})
    __call__: Callable[..., dict[str, Tensor]]

    @abstractmethod
    def forward(
        self, logits: Tensor, candidates: Candidates, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Terms of the positives.

        Args:
            logits: float [B,P,K,m,m] or [B,P,1,m,m], as a MaskHead gives them.
            candidates: the boxes [B,P] in which the masks lie.
            targets: [B,M] with masks.
            assignment: [B,P].

        Returns:
            scalars by name; each a zero connected to the graph where no positive has a mask.

        Raises:
            DataError: the targets come without masks.
        """
