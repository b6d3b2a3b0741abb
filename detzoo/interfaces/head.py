"""The three kinds of heads: dense heads, region heads and mask heads."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from detzoo.feature import Component, Feature, Scored
from detzoo.interfaces.supporting import BoxCoder, RoiPool
from detzoo.types import Candidates, FeatureMaps, ImageBatch, Predictions, Targets


class DenseHead(nn.Module, Scored, ABC):
    """Makes its own candidates (priors, anchors, cells, queries) and predicts each of them."""

    kind: ClassVar[str] = "head"
    coder: BoxCoder
    gives = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.LEVELS, Feature.SIGMOID_SCORES})
    """Default of dense heads; a head that gives something else overrides it."""
    one_size: ClassVar[bool] = False
    """Whether what it predicts holds for one size of the input; see also ``Anchors.one_size``."""
    __call__: Callable[..., tuple[Candidates, Predictions]]

    @abstractmethod
    def forward(
        self, features: FeatureMaps, batch: ImageBatch, targets: Targets | None = None
    ) -> tuple[Candidates, Predictions]:
        """Predict.

        Args:
            features: the neck's maps.
            batch: for the network size and the images' regions.
            targets: ground truth, given in training only. It may only change ``Predictions.aux``: what is detected
                never depends on it.

        Returns:
            candidates with ``self.coder``, and predictions for each of them in the same order.
        """


class RoiHead(nn.Module, Scored, ABC):
    """Classifies and refines given regions: the box stage of a two-stage detector."""

    kind: ClassVar[str] = "roi_head"
    coder: BoxCoder
    gives = frozenset({Feature.CLASS_LOGITS, Feature.SOFTMAX_SCORES})
    """Default: one box per class, and a column for the background."""
    roi_pool: RoiPool
    __call__: Callable[..., tuple[Candidates, Predictions]]

    @abstractmethod
    def forward(
        self, features: FeatureMaps, batch: ImageBatch, candidates: Candidates
    ) -> tuple[Candidates, Predictions]:
        """Predict.

        Args:
            features: the neck's maps.
            batch: for the network size and the images' regions.
            candidates: the regions [B,P].

        Returns:
            the same regions with ``self.coder``, and predictions for each of them in the same order.
        """


class MaskHead(nn.Module, Component, ABC):
    """Predicts a small mask for each given box."""

    kind: ClassVar[str] = "mask_head"
    gives = frozenset({Feature.MASK_LOGITS})
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, features: FeatureMaps, candidates: Candidates) -> Tensor:
        """Predict masks.

        Args:
            features: the neck's maps.
            candidates: the boxes [B,P], with ``valid``.

        Returns:
            float [B,P,K,m,m] logits within each box, one mask per class, or [B,P,1,m,m]: one for all classes. Those of
            invalid boxes mean nothing.
        """
