"""Head: feature maps (and candidates) -> candidates and predictions."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import nn

from detzoo.feature import Feature, Scored
from detzoo.interfaces.supporting import BoxCoder
from detzoo.types import Candidates, FeatureMaps, ImageBatch, Predictions


class Head(nn.Module, Scored, ABC):
    """Says where it looks (candidates) and what it sees there (predictions); it decides nothing."""

    kind: ClassVar[str] = "head"
    coder: BoxCoder
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.LEVELS, Feature.SIGMOID_SCORES})
    """What most dense heads give; one that gives something else says so in its class."""
    __call__: Callable[..., tuple[Candidates, Predictions]]

    @abstractmethod
    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates | None = None
    ) -> tuple[Candidates, Predictions]:
        """Predict.

        Args:
            features: the neck's maps.
            batch: for the network size and the images' regions.
            candidates: the regions to look at; None for a dense head, which makes its own.

        Returns:
            candidates that carry ``self.coder``, and predictions for each of them in the same order.
        """
