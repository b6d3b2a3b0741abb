"""Boxes by their centre, seen from the corner of its cell, and their size."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.interfaces import BoxCoder
from detzoo.ops.boxes import cxcywh_to_xyxy, full_precision, xyxy_to_cxcywh


class CentreInCell(BoxCoder):
    """Offset of the centre from the cell's top left corner, and width and height; all in strides, without logarithms.

    Source: Zhou et al. 2019 (arXiv:1904.07850), section 3: local offset and object size.
    """

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Offsets and sizes [...,4] of ``targets`` [...,4] in the cells ``boxes`` [...,4]."""
        return (xyxy_to_cxcywh(full_precision(targets)) - _corner(boxes)) / strides.unsqueeze(-1)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px."""
        return cxcywh_to_xyxy(full_precision(deltas) * strides.unsqueeze(-1) + _corner(boxes))


def _corner(boxes: Tensor) -> Tensor:
    """x, y, 0, 0 of the top left corners."""
    corner = full_precision(boxes)[..., :2]
    return torch.cat([corner, torch.zeros_like(corner)], dim=-1)
