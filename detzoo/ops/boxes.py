"""Boxes as tensors: areas, overlaps, conversions. Pure functions, any float dtype, no loops.

Boxes are xyxy, right and bottom exclusive, so a side is ``x2 - x1``. ``plus_one`` counts both edge pixels, as Caffe,
py-faster-rcnn and Detectron did (a side is ``x2 - x1 + 1``); it exists to load old weights and for exact VOC numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """``values`` in float32 where they are narrower: geometry loses boxes in half precision."""
    return values.float() if values.dtype.itemsize < 4 else values  # float16 steps by 0.5 px from 512 px on


def sides(boxes: Tensor, *, plus_one: bool = False) -> tuple[Tensor, Tensor]:
    """Widths and heights, each [...], of boxes [...,4]."""
    extra = 1.0 if plus_one else 0.0
    return boxes[..., 2] - boxes[..., 0] + extra, boxes[..., 3] - boxes[..., 1] + extra


def area(boxes: Tensor, *, plus_one: bool = False) -> Tensor:
    """Areas [...] px² of boxes [...,4]."""
    width, height = sides(boxes, plus_one=plus_one)
    return width * height


def intersection_matrix(a: Tensor, b: Tensor, *, plus_one: bool = False) -> Tensor:
    """Shared area of every pair.

    Args:
        a: float [...,N,4] xyxy.
        b: float [...,M,4] xyxy; leading dimensions broadcast.
        plus_one: count both edge pixels.

    Returns:
        float [...,N,M] px².
    """
    # columns are laid out one after another, so that the inner loop over M reads memory in order; large matrices are
    # bound by memory, hence the operations in place
    ax1, ay1, ax2, ay2 = a.unsqueeze(-2).unbind(-1)
    bx1, by1, bx2, by2 = b.transpose(-1, -2).contiguous().unsqueeze(-3).unbind(-2)
    extra = 1.0 if plus_one else 0.0
    width = torch.minimum(ax2, bx2).sub_(torch.maximum(ax1, bx1)).add_(extra).clamp_(min=0)
    height = torch.minimum(ay2, by2).sub_(torch.maximum(ay1, by1)).add_(extra).clamp_(min=0)
    return width * height


def iou_matrix(a: Tensor, b: Tensor, *, plus_one: bool = False) -> Tensor:
    """Intersection over union of every pair.

    Args:
        a: float [...,N,4] xyxy.
        b: float [...,M,4] xyxy; leading dimensions broadcast.
        plus_one: count both edge pixels.

    Returns:
        float [...,N,M] in [0,1]; 0 where both boxes are empty.
    """
    shared = intersection_matrix(a, b, plus_one=plus_one)
    union = (area(a, plus_one=plus_one).unsqueeze(-1) + area(b, plus_one=plus_one).unsqueeze(-2)).sub_(shared)
    # a union is 0 only where nothing is shared either; clamping is ten times as fast as filling by a mask
    return shared / union.clamp_(min=torch.finfo(union.dtype).tiny)


def _pair_overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Shared and united areas, each [...], of pairs [...,4]."""
    corner = torch.maximum(a[..., :2], b[..., :2])
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - corner).clamp(min=0).prod(-1)
    return shared, area(a) + area(b) - shared


def iou(a: Tensor, b: Tensor, *, eps: float = 0.0) -> Tensor:
    """Intersection over union [...] of pairs [...,4]; with ``eps`` 0, 0 where both boxes are empty."""
    shared, union = _pair_overlap(a, b)
    # a masked divisor: no NaN gradient from 0 / 0
    return shared / (union + eps if eps else torch.where(union > 0, union, 1))


def giou(a: Tensor, b: Tensor, *, eps: float = 1e-7) -> Tensor:
    """Generalised IoU [...] in [-1,1] of pairs [...,4].

    Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, eq. 1-2; eps as in torchvision.
    """
    shared, union = _pair_overlap(a, b)
    hull = torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1)
    hull_area = area(hull)
    return shared / (union + eps) - (hull_area - union) / (hull_area + eps)


def ciou(a: Tensor, b: Tensor, *, eps: float = 1e-7) -> Tensor:
    """Complete IoU [...] of predicted ``a`` and true ``b``, pairs [...,4].

    IoU less the squared distance of the centres over the hull's squared diagonal, less a term for the aspect ratio
    whose weight carries no gradient.

    Source: Zheng et al., Distance-IoU Loss, AAAI 2020, eq. 7-11; eps as in torchvision.
    """
    overlap = iou(a, b, eps=eps)
    hull_sides = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    between = (a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) / 2
    distance = between.square().sum(-1) / (hull_sides.square().sum(-1) + eps)
    (width_a, height_a), (width_b, height_b) = sides(a), sides(b)
    skew = (4 / math.pi**2) * (torch.atan2(width_b, height_b) - torch.atan2(width_a, height_a)).square()
    with torch.no_grad():
        weight = skew / (1 - overlap + skew + eps)
    return overlap - distance - weight * skew


def clip(boxes: Tensor, region: Tensor) -> Tensor:
    """Boxes [...,4] cut to ``region`` [...,4] xyxy, which broadcasts against them."""
    corner, opposite = region[..., :2], region[..., 2:]
    low = torch.cat([corner, corner], dim=-1)
    high = torch.cat([opposite, opposite], dim=-1)
    return boxes.maximum(low).minimum(high)  # tensors as bounds: each image of a batch has its own


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corners [...,4] to centre, width, height."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], dim=-1)


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Centre, width, height [...,4] to corners."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)
