"""Boxes as fractions of a rectangle: for DETR, of the whole image."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.interfaces import BoxCoder
from detzoo.ops.boxes import cxcywh_to_xyxy, full_precision, xyxy_to_cxcywh


class Fractions(BoxCoder):
    """Centre and size in units of the candidate's sides, counted from its left top corner.

    (x - x1) / W, (y - y1) / H, w / W and h / H, without weights and logarithms: a box inside the candidate has four
    numbers in [0,1], and their absolute differences are DETR's L1.

    Source: Carion et al. 2020 (arXiv:2005.12872), section 3.1; its code's ``box_cxcywh_to_xyxy`` and ``targets``.
    """

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Fractions [...,4] of ``targets`` [...,4] seen from ``boxes`` [...,4]; strides play no part."""
        corner, unit = _corner_and_unit(boxes)
        return (xyxy_to_cxcywh(full_precision(targets)) - corner) / unit

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px; strides play no part."""
        corner, unit = _corner_and_unit(boxes)
        return cxcywh_to_xyxy(full_precision(deltas) * unit + corner)


def _corner_and_unit(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """What is added to (cx, cy, w, h), and what they are multiplied by, each [...,4] px."""
    boxes = full_precision(boxes)
    corner, opposite = boxes[..., :2], boxes[..., 2:]
    size = opposite - corner
    return torch.cat([corner, torch.zeros_like(corner)], dim=-1), torch.cat([size, size], dim=-1)
