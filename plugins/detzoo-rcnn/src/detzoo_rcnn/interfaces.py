"""The plugin's kinds: the layers behind pooled windows, and what is fitted on their features afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from detzoo.interfaces import BoxCoder, Component, Feature, FeatureSource, RoiPool
from detzoo_rcnn.window_store import WindowStore

Advance = Callable[[int], None]
"""Called with the number of images just done; raises if the run must stop."""


class RegionHead(FeatureSource, Component, ABC):
    """Layers behind pooled windows: named feature vectors, and the logits of the classifier that is fine-tuned.

    ``out`` maps the name of each vector to a FeatureSpec whose ``channels`` is its length, in the order of the network.
    Letters: R windows.
    """

    kind: ClassVar[str] = "region_head"
    gives = frozenset({Feature.CLASS_LOGITS, Feature.SOFTMAX_SCORES})
    roi_pool: RoiPool
    __call__: Callable[..., tuple[dict[str, Tensor], Tensor]]

    @abstractmethod
    def forward(self, maps: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Look at windows.

        Args:
            maps: float [R,C,h,w]: what ``roi_pool`` gives, or what the backbone makes of windows of pixels.

        Returns:
            float [R,channels] for each name of ``out``, and logits [R,K+1] with background in column 0.
        """


class RegionClassifier(nn.Module, Component, ABC):
    """One scorer for each class on a feature vector of the region head. It is fitted, not trained by gradients."""

    kind: ClassVar[str] = "region_classifier"
    feature: str
    """Which of the head's vectors it reads."""
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, vectors: Tensor) -> Tensor:
        """Margins float32 [R,K] of vectors [R,D]; positive means the class."""

    @property
    @abstractmethod
    def fitted(self) -> bool:
        """Whether ``fit`` has been called, here or before a checkpoint was written."""

    @abstractmethod
    def fit(self, windows: WindowStore, advance: Advance) -> dict[str, float]:
        """Learn from all windows of the training data, never holding all their vectors in memory.

        Args:
            windows: on the disk.
            advance: called with the images done, ``passes * len(windows)`` in all.

        Returns:
            numbers for the log.
        """

    @property
    @abstractmethod
    def passes(self) -> int:
        """How often ``fit`` reads the windows."""


class RegionRegressor(nn.Module, Component, ABC):
    """A box correction for each class from a feature vector of the region head, fitted in closed form."""

    kind: ClassVar[str] = "region_regressor"
    feature: str
    """Which of the head's vectors it reads."""
    coder: BoxCoder
    min_overlap: float
    """IoU that a window must exceed to be learnt from: only those need vectors on the disk."""
    ground_truth: bool = False
    """Whether the ground-truth boxes themselves are among those windows."""
    __call__: Callable[..., Tensor]

    @abstractmethod
    def forward(self, vectors: Tensor) -> Tensor:
        """Deltas float32 [R,K,4] of vectors [R,D], in the coder's units."""

    @abstractmethod
    def fit(self, windows: WindowStore, advance: Advance) -> dict[str, float]:
        """Learn from the windows near ground truth; ``advance`` is called with ``len(windows)`` images in all."""
