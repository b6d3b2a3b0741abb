"""PostProcess: predictions -> detections."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import nn

from detzoo.errors import SettingError
from detzoo.feature import Component
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions


class PostProcess(nn.Module, Component, ABC):
    """Scores, decodes, filters and suppresses: batched, without a loop over classes or images."""

    kind: ClassVar[str] = "postprocess"
    settings: DetectionSettings = DetectionSettings()
    """Its own defaults; None for a setting that it does not have."""
    quality: Literal["ignore", "product", "geometric_mean"] = "ignore"
    """How ``quality_logits`` enter the score: not at all, as a factor, or as geometric mean."""

    cut_scores: bool = True
    """Whether scores lie in 0..1, whatever the head says."""
    fits_onnx: bool = True
    """Whether ONNX has operations for it."""

    def __call__(
        self,
        predictions: Predictions,
        candidates: Candidates,
        batch: ImageBatch,
        settings: DetectionSettings | None = None,
    ) -> DetectionBatch:
        """``forward``; values that ``settings`` leaves open are filled with its own defaults."""
        found: DetectionBatch = super().__call__(predictions, candidates, batch, self.effective(settings))
        return found

    @abstractmethod
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        """Detect.

        Args:
            predictions: [B,N], float32.
            candidates: [1 or B,N], with the coder of the head.
            batch: for the images' regions.
            settings: values to use instead of ``self.settings``; None where that is None.

        Returns:
            detections in network px, clipped to each image's region, best first.
        """

    def effective(self, settings: DetectionSettings | None = None) -> DetectionSettings:
        """Its own defaults, replaced by the requested values.

        Raises:
            SettingError: it does not have a requested setting; the message names those it has.
        """
        if settings is None:
            return self.settings
        asked, own = settings.given(), self.settings.given()
        missing = [name for name in asked if name not in own]
        if missing:
            able = f"it can set {', '.join(own)}" if own else "it has no settings"
            raise SettingError(
                f"{', '.join(missing)} cannot be set: the post-process {type(self).__name__} does not have it; {able}"
            )
        return dataclasses.replace(self.settings, **asked)
