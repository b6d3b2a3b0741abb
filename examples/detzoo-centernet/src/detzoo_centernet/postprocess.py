"""CenterNet's post-processing: local maxima of the heatmap, in place of suppression."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.components.postprocess.top_k import TopK
from detzoo.interfaces import Feature, PostProcess
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Level, Predictions


class Peaks(PostProcess):
    """A cell counts for a class where no neighbour has a higher score; the best of those are the detections.

    Args:
        window: cells on each side that are compared: 3 looks at the eight neighbours.
        keep: detections kept per image.
        score_threshold: lower scores are dropped.

    Source: Zhou et al. 2019 (arXiv:1904.07850), section 4.2; xingyizhou/CenterNet, ``_nms`` and ``ctdet_decode``.
    """

    needs = frozenset({Feature.CLASS_LOGITS, Feature.ONE_BOX, Feature.ONE_PER_CELL})

    def __init__(
        self,
        *,
        window: Literal[1, 3, 5, 7] = 3,
        keep: Annotated[int, Field(gt=0)] = 100,
        score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.window = window
        self.best = TopK(keep=keep, score_threshold=score_threshold, one_class_each=False)
        self.settings = self.best.settings

    @torch.no_grad()
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        """Detections [B,keep] in network px, best first, clipped to each image's region."""
        assert predictions.class_logits is not None
        maps = torch.split(predictions.class_logits, [level.count for level in candidates.levels], dim=1)
        peaks = [self.peaks(logits, level) for logits, level in zip(maps, candidates.levels, strict=True)]
        if peaks:
            predictions = dataclasses.replace(predictions, class_logits=torch.cat(peaks, dim=1))
        return self.best(predictions, candidates, batch, settings)

    def peaks(self, logits: Tensor, level: Level) -> Tensor:
        """[B,h*w,K]: -inf for a class in whose neighbourhood there is a higher logit."""
        images, _, classes = logits.shape
        heat = logits.transpose(1, 2).reshape(images, classes, level.height, level.width)
        highest = F.max_pool2d(heat, self.window, stride=1, padding=self.window // 2)
        return torch.where(heat == highest, heat, -torch.inf).flatten(2).transpose(1, 2)
