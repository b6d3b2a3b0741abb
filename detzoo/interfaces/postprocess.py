"""PostProcess: predictions -> detections."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import nn

from detzoo.feature import Component
from detzoo.types import Candidates, DetectionBatch, ImageBatch, Predictions


class PostProcess(nn.Module, Component, ABC):
    """Scores, decodes, filters and suppresses: batched, without a loop over classes or images."""

    kind: ClassVar[str] = "postprocess"
    __call__: Callable[..., DetectionBatch]

    @abstractmethod
    def forward(self, predictions: Predictions, candidates: Candidates, batch: ImageBatch) -> DetectionBatch:
        """Return detections in network px, clipped to each image's region, best first."""
