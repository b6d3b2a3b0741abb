"""The best scores are the detections: for heads trained to give one box per object (DETR)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from detzoo.components.postprocess.detections import best_overall, threshold_of
from detzoo.interfaces import PostProcess
from detzoo.ops.boxes import clip, sides
from detzoo.ops.ranking import gather_rows
from detzoo.ops.scores import scores_of
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions


class TopK(PostProcess):
    """The highest scores over all candidates and classes, without suppression.

    Args:
        keep: detections kept per image.
        score_threshold: lower scores are dropped.
        one_class_each: a candidate is reported for its best class only (DETR), else for every class (Deformable DETR).

    Source: DETR ``PostProcess``; Deformable DETR's.
    """

    def __init__(
        self,
        *,
        keep: Annotated[int, Field(gt=0)] = 100,
        score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0,
        one_class_each: bool = True,
    ) -> None:
        super().__init__()
        self.settings = DetectionSettings(score_threshold, keep=keep)
        self.one_class_each = one_class_each

    @torch.no_grad()
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        """Detections [B,keep] in network px, best first, clipped to each image's region."""
        assert settings.keep is not None
        scores = scores_of(predictions)
        scores = torch.where(candidates.valid.unsqueeze(-1) & (scores > threshold_of(settings)), scores, 0)
        classes = scores.shape[2]
        if self.one_class_each and classes:  # argmax cannot look at no classes
            scores = torch.where(
                torch.arange(classes, device=scores.device) == scores.argmax(2, keepdim=True), scores, 0
            )
        # pairs of candidate and class
        best, index = scores.flatten(1).topk(min(settings.keep, scores.shape[1] * classes), dim=1)
        row = index // max(1, classes)
        label = index - row * classes
        boxes = gather_rows(candidates.boxes, row)
        if candidates.coder is not None:
            per_class = predictions.deltas.shape[2]
            deltas = gather_rows(predictions.deltas.flatten(1, 2), row if per_class == 1 else row * per_class + label)
            boxes = candidates.coder.of_classes(label).decode(deltas, boxes, candidates.strides()[row])
        boxes = clip(boxes, batch.region.unsqueeze(1))
        width, height = sides(boxes)  # a coder of signed distances can turn a box inside out
        return best_overall(boxes, torch.where((width >= 0) & (height >= 0), best, 0), label, settings.keep)
