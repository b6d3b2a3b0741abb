"""From the scores of anchors to regions: the best of each level, without duplicates, the best overall."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.components.postprocess.detections import best_overall, threshold_of
from detzoo.interfaces import PostProcess, Suppress
from detzoo.ops.boxes import clip, sides
from detzoo.ops.ranking import gather_rows
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions


class Regions(PostProcess):
    """The regions that an RPN proposes, whatever they show.

    Args:
        suppress: removes duplicates; levels do not suppress each other.
        per_level_top_k: the best of each level that enter suppression.
        keep: regions kept per image, over all levels.
        min_side: regions narrower or lower than this (px, after clipping) are dropped before suppression.
        min_side_of: whose px: the ``network``'s input, or the ``original`` image's (py-faster-rcnn: 16, scaled).
        small_first: they are dropped before the best of each level are taken, which decodes every candidate
            (py-faster-rcnn), else among the best (torchvision).
        score_threshold: so are those of a lower score.

    Source: Ren et al. 2015, section 3.3; torchvision ``RegionProposalNetwork.filter_proposals``. Kept are ``keep`` of
    each image, not of the batch.
    """

    def __init__(
        self,
        *,
        suppress: Suppress,
        per_level_top_k: Annotated[int, Field(gt=0)] = 1000,
        keep: Annotated[int, Field(gt=0)] = 1000,
        min_side: Annotated[float, Field(ge=0)] = 1e-3,
        min_side_of: Literal["network", "original"] = "network",
        small_first: bool = False,
        score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.suppress = suppress
        self.per_level_top_k = per_level_top_k
        self.settings = DetectionSettings(score_threshold, suppress.iou, keep)
        self.min_side = min_side
        self.min_side_of = min_side_of
        self.small_first = small_first

    @torch.no_grad()
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        """Regions [B,keep] in network px, best first, clipped to each image's region; labels are 0."""
        assert settings.keep is not None
        logits = objectness(predictions)
        if self.small_first:
            every = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
            large = self.large_enough(decoded(every, predictions, candidates, batch), batch)
            logits = logits.masked_fill(~large, -math.inf)
        logits, row, level = self.best_of_levels(logits, candidates)  # before decoding: 2,000 of 200,000 anchors
        boxes = decoded(row, predictions, candidates, batch)
        scores = torch.sigmoid(logits)
        valid = (logits > -math.inf) & (scores >= threshold_of(settings))
        valid = valid & self.large_enough(boxes, batch)
        # of objectness that rounds to one score, the higher logit goes first
        order = logits.argsort(dim=1, descending=True, stable=True)
        boxes, scores = gather_rows(boxes, order), scores.gather(1, order)
        level, valid = level.gather(1, order), valid.gather(1, order)
        # per level, as torchvision
        kept = self.suppress(boxes, scores, level, valid, settings.nms_iou).masked_fill(~valid, 0)
        return best_overall(boxes, kept, torch.zeros_like(level), settings.keep)

    def large_enough(self, boxes: Tensor, batch: ImageBatch) -> Tensor:
        """bool [B,S]: neither side of boxes [B,S,4] is below ``min_side``."""
        width, height = sides(boxes)
        if self.min_side_of == "network":
            return (width >= self.min_side) & (height >= self.min_side)
        least = self.min_side * batch.scale.unsqueeze(1)  # (vertical, horizontal) network px
        return (width >= least[..., 1]) & (height >= least[..., 0])

    def best_of_levels(self, logits: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B,S] (-inf where invalid), rows [B,S] and levels [B,S] of the best candidates of each level."""
        logits = logits.masked_fill(~candidates.valid, -math.inf)
        counts = [level.count for level in candidates.levels] or [logits.shape[1]]
        values, rows, levels = [], [], []
        start = 0
        for number, part in enumerate(torch.split(logits, counts, dim=1)):
            # by logit: sigmoids near 1 tie in float32
            best, row = part.topk(min(self.per_level_top_k, part.shape[1]), dim=1)
            values.append(best)
            rows.append(row + start)
            levels.append(torch.full_like(row, number))
            start += part.shape[1]
        return torch.cat(values, 1), torch.cat(rows, 1), torch.cat(levels, 1)


def objectness(predictions: Predictions) -> Tensor:
    """float [B,N]: log-odds of being an object, from one sigmoid or from a softmax over background and object."""
    logits = predictions.class_logits
    assert logits is not None
    return logits[..., 1] - logits[..., 0] if predictions.scoring == "softmax" else logits[..., 0]


def decoded(row: Tensor, predictions: Predictions, candidates: Candidates, batch: ImageBatch) -> Tensor:
    """Boxes [B,S,4] of the chosen rows [B,S], clipped to each image's region."""
    assert candidates.coder is not None
    deltas = gather_rows(predictions.deltas.flatten(1, 2), row)
    boxes = candidates.coder.decode(deltas, gather_rows(candidates.boxes, row), candidates.strides()[row])
    return clip(boxes, batch.region.unsqueeze(1))
