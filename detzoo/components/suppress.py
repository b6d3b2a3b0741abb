"""Duplicate detections: removed, weakened or left."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import Suppress
from detzoo.ops.nms import nms_keep, soft_nms

Fraction = Annotated[float, Field(ge=0, le=1)]


class Nms(Suppress):
    """Greedy non-maximum suppression.

    Args:
        iou: a box that overlaps a better one of its class by more than this is removed.
        legacy_plus_one: sides are x2 - x1 + 1, for boxes whose right and bottom edges are the last pixels themselves
            (R-CNN, Fast R-CNN, py-faster-rcnn).
    """

    iou: float

    def __init__(self, *, iou: Fraction = 0.5, legacy_plus_one: bool = False) -> None:
        super().__init__()
        self.iou, self.legacy_plus_one = iou, legacy_plus_one

    def forward(self, boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float | None = None) -> Tensor:
        """Scores [B,N] as they are for the kept, 0 for the removed."""
        threshold = self.iou if iou is None else iou
        if self.legacy_plus_one:  # the same overlaps as those of boxes that end 1 px later
            boxes = boxes + (torch.arange(4, device=boxes.device) >= 2)
        # 0 marks removed: static shapes
        return torch.where(nms_keep(boxes, scores, group, iou=threshold, valid=valid), scores, 0)


class SoftNms(Suppress):
    """Boxes that overlap a better one lose score instead of being removed.

    Args:
        method: ``gaussian``: times exp(-IoU² / sigma). ``linear``: times 1 - IoU where IoU exceeds ``iou``.
        sigma: width of the gaussian.
        iou: threshold of the linear method; the gaussian has none.
        min_score: boxes that fall below are removed.

    Source: Bodla et al., Soft-NMS, ICCV 2017.
    """

    fits_onnx = False

    def __init__(
        self,
        *,
        method: Literal["gaussian", "linear"] = "gaussian",
        sigma: Annotated[float, Field(gt=0)] = 0.5,
        iou: Fraction = 0.3,
        min_score: Fraction = 0.001,
    ) -> None:
        super().__init__()
        self.method = method
        self.sigma = sigma
        self.iou = iou if method == "linear" else None  # None: predict's nms_iou is refused for the gaussian
        self.min_score = min_score

    def forward(self, boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float | None = None) -> Tensor:
        """Weakened scores [B,N]; 0 for the removed."""
        threshold = self.iou if iou is None else iou
        return soft_nms(
            boxes,
            scores,
            group,
            valid=valid,
            method=self.method,
            sigma=self.sigma,
            iou=0.0 if threshold is None else threshold,  # the gaussian does not read it
            min_score=self.min_score,
        )


class KeepAll(Suppress):
    """No suppression, for heads that give one box per object."""

    name: ClassVar[str] = "none"

    def forward(self, boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float | None = None) -> Tensor:
        """Scores [B,N]; 0 where invalid."""
        return torch.where(valid, scores, 0)
