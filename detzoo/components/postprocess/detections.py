"""Class scores and deltas -> detections: threshold, best per class, suppression, best overall."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import PostProcess, Suppress
from detzoo.ops.boxes import clip, sides
from detzoo.ops.ranking import (
    allows_dynamic_shapes,
    best_of_each_class,
    compact,
    gather_rows,
    pack,
    rank_in_group,
)
from detzoo.ops.scores import quality_of, scores_of
from detzoo.types import Candidates, DetectionBatch, DetectionSettings, ImageBatch, Predictions

FIRST: Final = 512
"""Best-scoring boxes that the CPU looks at first; usually they decide."""
GROWTH: Final = 8
"""Factor by which that number grows when they do not."""
ROUNDING: Final = 1e-5
"""Part of a threshold by which a product of float32 may miss it."""


class PerClassDetections(PostProcess):
    """Every candidate may be reported once for every class, or for its best class alone.

    Args:
        suppress: removes or weakens duplicates of one class.
        score_threshold: lower scores are dropped before anything else.
        strict: a score must exceed the threshold (torchvision); else reaching it is enough.
        per_class_top_k: candidates of each class that enter suppression; null for all.
        per_level_top_k: pairs of candidate and class of each level that enter suppression; null for all. The paper,
            torchvision and detectron2 keep 1,000 of them.
        keep: detections kept per image.
        min_side: boxes narrower or lower than this (px) are dropped before suppression; sides as ``clip`` leaves them.
        clip: when boxes are cut to the image: ``before`` suppression compares them (torchvision, Detectron, mmdet,
            TensorFlow), so that what reaches beyond the image counts for nothing, or ``after`` (Caffe's SSD, darknet,
            the ports of both, detectron2's RetinaNet). Reported boxes lie in the image either way.
        quality: how ``quality_logits`` enter the score: not at all, as a factor, or under a square root with it (FCOS).
        cut_scores: what heads with linear scores say (YOLOv1) is cut to 0..1; false leaves scores above 1 as they are
            (darknet).
        one_class_each: a candidate is reported for its best class only (YOLOX), else for every class that passes.

    Source: SSD's DetectionOutput; RetinaNet, section 4.1; torchvision's ``SSD``, ``RetinaNet`` and
    ``FCOS.postprocess_detections``, whose results are matched.
    """

    name: ClassVar[str] = "detections"

    def __init__(
        self,
        *,
        suppress: Suppress,
        score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.05,
        strict: bool = True,
        per_class_top_k: Annotated[int, Field(gt=0)] | None = None,
        per_level_top_k: Annotated[int, Field(gt=0)] | None = None,
        keep: Annotated[int, Field(gt=0)] = 100,
        min_side: Annotated[float, Field(ge=0)] = 0.0,
        clip: Literal["before", "after"] = "before",
        quality: Literal["ignore", "product", "geometric_mean"] = "ignore",
        cut_scores: bool = True,
        one_class_each: bool = False,
    ) -> None:
        super().__init__()
        self.suppress = suppress
        self.fits_onnx = suppress.fits_onnx
        self.settings = DetectionSettings(score_threshold, suppress.iou, keep)  # what predict's arguments may replace
        self.strict = strict
        if per_class_top_k is not None and per_level_top_k is not None:  # torchvision has one or the other, never both
            raise RecipeError(
                "postprocess detections: per_class_top_k and per_level_top_k are both given, and the order in which "
                "they cut would matter; make one of them null"
            )
        self.per_class_top_k = per_class_top_k
        self.per_level_top_k = per_level_top_k
        self.min_side = min_side
        self.clip = clip
        self.quality = quality
        self.cut_scores = cut_scores
        self.one_class_each = one_class_each

    @torch.no_grad()
    def forward(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> DetectionBatch:
        """Detections [B,keep] in network px, best first, clipped to each image's region."""
        assert settings.keep is not None
        if allows_dynamic_shapes(predictions.deltas):
            way = self.best_first
        else:
            way = self.class_by_class if self.per_level_top_k is None else self.level_by_level
        boxes, scores, labels = way(predictions, candidates, batch, settings)
        found = best_overall(boxes, scores, labels, settings.keep)
        if self.clip == "before":
            return found
        inside = clip(found.boxes, batch.region.unsqueeze(1))
        return replace(found, boxes=torch.where(found.valid.unsqueeze(-1), inside, found.boxes))  # padding is zeros

    def best_first(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The CPU's way: only as many of the best boxes as decide which are kept. Shapes depend on the data.

        What happens to a box depends on better boxes alone, and no score rises. So once ``keep`` boxes have come out
        of suppression with more than the best box not yet looked at had going in, the rest cannot matter.

        Returns:
            boxes [B,S,4], scores [B,S] with 0 for the removed, labels [B,S].
        """
        assert settings.keep is not None
        # first of all: of 100,000 anchors times 80 classes few pass
        values, places, classes = self.passing(predictions, candidates, threshold_of(settings))  # [B,P]
        size = 0
        while True:
            size = min(max(FIRST, size * GROWTH), values.shape[1])
            best, order = values.topk(size, dim=1)
            # of equal scores the earlier candidate goes first, whatever the batch around it
            index, order = places.gather(1, order).sort(dim=1)
            best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
            index = index.gather(1, order)
            row = index // max(1, classes)
            label = index - row * classes
            valid = best > -math.inf
            if self.per_class_top_k is not None and size > self.per_class_top_k:
                valid &= rank_in_group(label) < self.per_class_top_k
            if self.per_level_top_k is not None and size > self.per_level_top_k:
                valid &= rank_in_group(level_of(row, candidates)) < self.per_level_top_k
            boxes = self.boxes_at(row, label, predictions, candidates, batch.region)
            new = self.suppressed(boxes, best, valid, label, settings)
            if size == values.shape[1]:
                break
            bar = best[:, -1:]
            settled = ((new > bar) & (new > 0)).sum(1) >= settings.keep
            if bool((settled | (bar.squeeze(1) == -math.inf)).all()):  # -inf: nothing but padding is left
                break
            top = self.per_class_top_k
            if size == FIRST and top is not None and values.shape[1] > classes * top:
                # nothing is trained yet, or everything overlaps: what may enter will be looked at, all at once
                shape = (predictions.deltas.shape[1], classes)
                values, places = best_of_each_class(values, places, shape, top)
                size = values.shape[1]
        return boxes, new, label

    def passing(self, predictions: Predictions, candidates: Candidates, threshold: float) -> tuple[Tensor, Tensor, int]:
        """Scores [B,P] that pass the threshold, their places in the flattened [N*K], and K."""
        bounded = self.cut_scores or predictions.scoring != "linear"
        if self.quality == "ignore" or predictions.quality_logits is None or not bounded:
            scores = self.scores(predictions)  # [B,N,K]
            passed = self.high_enough(scores, threshold)
            if not candidates.valid.all():
                passed &= candidates.valid.unsqueeze(-1).numpy()
            return *compact(scores, passed), scores.shape[2]
        # no class scores higher than its candidate's quality allows, and few candidates have any: only they are scored
        assert predictions.class_logits is not None
        least = threshold * (1 - ROUNDING)
        quality = quality_of(predictions)
        # sqrt(s q) <= sqrt(q)
        alive = (quality >= (least if self.quality == "product" else least**2)) & candidates.valid
        row = torch.from_numpy(np.flatnonzero(alive.numpy()))
        logits = predictions.class_logits.flatten(0, 1)[row]
        chosen = replace(predictions, class_logits=logits, quality_logits=predictions.quality_logits.flatten()[row])
        scores = self.scores(chosen)  # [R,K]
        classes = scores.shape[1]
        place = torch.from_numpy(np.flatnonzero(self.high_enough(scores, threshold)))
        kept = place // max(1, classes)
        count, per_image = quality.shape[0], quality.shape[1] * classes
        return *pack(scores.flatten()[place], place + (row[kept] - kept) * classes, count, per_image), classes

    def scores(self, predictions: Predictions) -> Tensor:
        """float32 [...,K] of logits [...,C]; -inf where a candidate is not reported for a class."""
        scores = scores_of(predictions, quality=self.quality, cut=self.cut_scores)
        if not self.one_class_each or scores.shape[-1] < 2:
            return scores
        best, label = scores.max(-1, keepdim=True)  # of equal scores the first class
        return torch.full_like(scores, -math.inf).scatter(-1, label, best)

    def high_enough(self, scores: Tensor, threshold: float) -> NDArray[np.bool_]:
        """Bool, of the shape of ``scores``."""
        numbers = scores.numpy()
        return np.asarray(numbers > threshold if self.strict else numbers >= threshold)

    def class_by_class(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The way with static shapes: a row for every image and class, and no wait for the host.

        Returns:
            boxes [B,K*k,4], scores [B,K*k] with 0 for the removed, labels [B,K*k].
        """
        scores = self.scores(predictions)  # [B,N,K]
        images, count, classes = scores.shape
        values = self.passed(scores, candidates, threshold_of(settings)).transpose(1, 2)
        if self.per_class_top_k is None:  # of equal scores the earlier candidate goes first; topk promises no order
            size = count
            best, row = values.sort(dim=2, descending=True, stable=True)  # [B,K,N]
        else:
            size = min(self.per_class_top_k, count)
            best, row = values.topk(size, dim=2)  # [B,K,k]
        label = torch.arange(classes, device=scores.device).view(1, classes, 1).expand_as(row)
        flat = [part.reshape(images, classes * size) for part in (best, best > -math.inf, row, label)]
        boxes = self.boxes_at(flat[2], flat[3], predictions, candidates, batch.region)
        valid = flat[1] & self.large_enough(boxes)  # torchvision's remove_small_boxes
        rows = [part.reshape(images * classes, size, *part.shape[2:]) for part in (boxes, flat[0], valid)]
        one = torch.zeros_like(rows[2], dtype=torch.int64)  # a row is a class
        new = self.suppress(rows[0], rows[1], one, rows[2], settings.nms_iou)
        return boxes, new.reshape(images, classes * size).masked_fill(~valid, 0), flat[3]

    def level_by_level(
        self, predictions: Predictions, candidates: Candidates, batch: ImageBatch, settings: DetectionSettings
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The way with static shapes for the best of each level, all of which enter one suppression.

        Returns:
            boxes [B,S,4], scores [B,S] with 0 for the removed, labels [B,S]; S is at most levels * per_level_top_k.
        """
        assert self.per_level_top_k is not None
        scores = self.scores(predictions)  # [B,N,K]
        classes = max(1, scores.shape[2])
        counts = [level.count for level in candidates.levels] or [scores.shape[1]]  # no levels: all are one
        best, index = [], []
        start = 0
        for part in torch.split(self.passed(scores, candidates, threshold_of(settings)), counts, dim=1):
            values, place = part.flatten(1).topk(min(self.per_level_top_k, part.shape[1] * part.shape[2]), dim=1)
            best.append(values)
            index.append(place + start * classes)
            start += part.shape[1]
        values, place = torch.cat(best, 1), torch.cat(index, 1)
        row = place // classes
        label = place - row * classes
        boxes = self.boxes_at(row, label, predictions, candidates, batch.region)
        return boxes, self.suppressed(boxes, values, values > -math.inf, label, settings), label

    def passed(self, scores: Tensor, candidates: Candidates, threshold: float) -> Tensor:
        """Scores [B,N,K], -inf where they do not pass the threshold or their candidate is padding."""
        over = scores > threshold if self.strict else scores >= threshold
        return torch.where(over & candidates.valid.unsqueeze(-1), scores, -math.inf)

    def suppressed(
        self, boxes: Tensor, scores: Tensor, valid: Tensor, label: Tensor, settings: DetectionSettings
    ) -> Tensor:
        """Scores [B,S] of boxes [B,S,4] after suppression within each label; 0 where removed or too small."""
        valid = valid & self.large_enough(boxes)
        new = self.suppress(boxes, scores, label, valid, settings.nms_iou)
        return new.masked_fill(~valid, 0)  # whatever a plugin's suppression gives to invalid rows

    def boxes_at(
        self, row: Tensor, label: Tensor, predictions: Predictions, candidates: Candidates, region: Tensor
    ) -> Tensor:
        """Decoded boxes [B,S,4] of candidates ``row`` [B,S] for classes ``label`` [B,S], as suppression reads them."""
        boxes = gather_rows(candidates.boxes, row)
        if candidates.coder is not None:
            per_class = predictions.deltas.shape[2]
            place = row if per_class == 1 else row * per_class + label
            deltas = gather_rows(predictions.deltas.flatten(1, 2), place)  # [B,S,4]: only these are decoded
            boxes = candidates.coder.of_classes(label).decode(deltas, boxes, candidates.strides()[row])
        # to the image, not to the padding
        return clip(boxes, region.unsqueeze(1)) if self.clip == "before" else boxes

    def large_enough(self, boxes: Tensor) -> Tensor:
        """bool [B,S]."""
        width, height = sides(boxes)
        return (width >= self.min_side) & (height >= self.min_side)


def threshold_of(settings: DetectionSettings) -> float:
    """The score that a detection needs; 0 for all."""
    return settings.score_threshold or 0.0


def level_of(row: Tensor, candidates: Candidates) -> Tensor:
    """int64: the number of the level on which each candidate ``row`` stands; 0 where there are no levels."""
    counts = torch.tensor([level.count for level in candidates.levels[:-1]], device=row.device, dtype=torch.int64)
    return torch.bucketize(row, counts.cumsum(0), right=True)  # right: the first row of a level belongs to it


def best_overall(boxes: Tensor, scores: Tensor, labels: Tensor, keep: int) -> DetectionBatch:
    """The ``keep`` best of [B,S], sorted by score and padded to [B,keep]; scores of 0 are no detections."""
    if not isinstance(scores.shape[1], int):
        # S is free in an exported graph: pad first, so that there is enough to cut
        boxes, scores, labels = F.pad(boxes, (0, 0, 0, keep)), F.pad(scores, (0, keep)), F.pad(labels, (0, keep))
    # stable: equal scores in the order of the candidates
    best, order = scores.sort(dim=1, descending=True, stable=True)
    best, order = best[:, :keep], order[:, :keep]
    valid = best > 0
    boxes = torch.where(valid.unsqueeze(-1), gather_rows(boxes, order), 0)  # padding is zeros, the same on every device
    labels = torch.where(valid, labels.gather(1, order), 0)
    missing = keep - best.shape[1]
    if missing == 0:
        return DetectionBatch(boxes, best.clamp(min=0), labels, valid)
    return DetectionBatch(
        boxes=F.pad(boxes, (0, 0, 0, missing)),
        scores=F.pad(best.clamp(min=0), (0, missing)),
        labels=F.pad(labels, (0, missing)),
        valid=F.pad(valid, (0, missing)),
    )
