"""Boxes relative to other boxes, and back: the arithmetic behind the box coders."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.ops.boxes import full_precision, sides

Four = tuple[float, float, float, float]


def encode_centre_size(targets: Tensor, boxes: Tensor, weights: Four, *, plus_one: bool = False) -> Tensor:
    """Deltas (dx, dy, dw, dh) of ``targets`` seen from ``boxes``.

    dx = w_x (x* - x) / w and dw = w_w log(w* / w), likewise for y and h.

    Args:
        targets: float [...,4] xyxy px, of positive size.
        boxes: float [...,4] xyxy px, of positive size; broadcasts against ``targets``.
        weights: multipliers of dx, dy, dw, dh: the inverse of SSD's variances.
        plus_one: sides are ``x2 - x1 + 1``.

    Returns:
        float [...,4].

    Source: R-CNN, appendix C; torchvision's ``encode_boxes``, operation by operation, so that floats agree.
    """
    targets, boxes = full_precision(targets), full_precision(boxes)
    width, height = sides(boxes, plus_one=plus_one)
    true_width, true_height = sides(targets, plus_one=plus_one)
    x, y = boxes[..., 0] + 0.5 * width, boxes[..., 1] + 0.5 * height
    true_x, true_y = targets[..., 0] + 0.5 * true_width, targets[..., 1] + 0.5 * true_height
    return torch.stack(
        [
            weights[0] * (true_x - x) / width,
            weights[1] * (true_y - y) / height,
            weights[2] * torch.log(true_width / width),
            weights[3] * torch.log(true_height / height),
        ],
        dim=-1,
    )


def decode_centre_size(
    deltas: Tensor,
    boxes: Tensor,
    weights: Four,
    *,
    clamp: float | None,
    plus_one: bool = False,
    extra_pixel: bool = False,
) -> Tensor:
    """Boxes [...,4] xyxy px that ``deltas`` [...,4] describe as seen from ``boxes`` [...,4].

    Args:
        deltas: float [...,4].
        boxes: float [...,4] xyxy px; broadcasts against ``deltas``.
        weights: as in ``encode_centre_size``.
        clamp: upper bound of dw / w_w and dh / w_h, against an overflowing exp; None for no bound.
        plus_one: sides are ``x2 - x1 + 1``, and the right edge is moved back by 1, as in Detectron.
        extra_pixel: right and bottom edges lie 1 px further, as py-faster-rcnn leaves them.

    Returns:
        float [...,4] xyxy px, not clipped to any image.

    Source: torchvision's ``BoxCoder.decode_single``, operation by operation, so that floats agree.
    """
    deltas, boxes = full_precision(deltas), full_precision(boxes)
    width, height = sides(boxes, plus_one=plus_one)
    dx, dy, dw, dh = (part / weight for part, weight in zip(deltas.unbind(-1), weights, strict=True))
    if clamp is not None:
        dw, dh = dw.clamp(max=clamp), dh.clamp(max=clamp)  # above only: exp of a very negative number is 0
    x, y = dx * width + (boxes[..., 0] + 0.5 * width), dy * height + (boxes[..., 1] + 0.5 * height)
    half_width, half_height = 0.5 * (torch.exp(dw) * width), 0.5 * (torch.exp(dh) * height)
    back = float(plus_one) - float(extra_pixel)  # plus_one: x2 is the last pixel itself, not the one behind it
    return torch.stack([x - half_width, y - half_height, x + half_width - back, y + half_height - back], dim=-1)


def encode_edges(targets: Tensor, boxes: Tensor, unit: Tensor) -> Tensor:
    """Distances (left, top, right, bottom) from the centres of ``boxes`` to the edges of ``targets``, in ``unit``.

    Args:
        targets: float [...,4] xyxy px.
        boxes: float [...,4] xyxy px; only the centres are used.
        unit: float [...,1] or [...,4] px: the stride, the candidate's sides, or ones.

    Returns:
        float [...,4], negative where a centre lies outside its target.

    Source: FCOS, eq. 1, with the division by the stride of its code.
    """
    targets, boxes = full_precision(targets), full_precision(boxes)
    centre = 0.5 * (boxes[..., :2] + boxes[..., 2:])  # [...,2]
    return torch.cat([centre - targets[..., :2], targets[..., 2:] - centre], dim=-1) / unit


def decode_edges(deltas: Tensor, boxes: Tensor, unit: Tensor) -> Tensor:
    """Inverse of ``encode_edges``: boxes [...,4] xyxy px."""
    deltas, boxes = full_precision(deltas), full_precision(boxes)
    centre = 0.5 * (boxes[..., :2] + boxes[..., 2:])
    reach = deltas * unit
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1)
