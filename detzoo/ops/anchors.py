"""Boxes repeated over a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float], *, rounded: bool = False) -> Tensor:
    """Anchors of one cell around the origin, ratio-major, then size.

    Args:
        sizes: side of the square of the same area, px.
        ratios: height / width.
        rounded: coordinates rounded to whole px, half to even, as torchvision does.

    Returns:
        float32 [len(ratios) * len(sizes),4] xyxy px.

    Source: torchvision ``AnchorGenerator.generate_anchors``, operation by operation.
    """
    size = torch.tensor(sizes, dtype=torch.float32)
    tall = torch.tensor(ratios, dtype=torch.float32).sqrt()
    wide = 1 / tall
    widths, heights = (wide[:, None] * size).flatten(), (tall[:, None] * size).flatten()
    boxes = torch.stack([-widths, -heights, widths, heights], dim=1) / 2
    return boxes.round() if rounded else boxes  # detectron2 and mmdet keep fractions of px


def shift_over_grid(
    anchors: Tensor, height: int, width: int, stride: tuple[float, float], *, offset: float = 0.0
) -> Tensor:
    """Anchors moved to every cell.

    Args:
        anchors: float [A,4] xyxy px around the origin.
        height: rows.
        width: columns.
        stride: (vertical, horizontal) px per cell.
        offset: centre within the cell, in cells: 0 is its upper left corner, 0.5 its middle.

    Returns:
        float [height*width*A,4] xyxy px, flattened row, column, anchor.
    """
    y = (torch.arange(height, device=anchors.device, dtype=anchors.dtype) + offset) * stride[0]
    x = (torch.arange(width, device=anchors.device, dtype=anchors.dtype) + offset) * stride[1]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    shifts = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=-1).reshape(-1, 1, 4)  # [h*w,1,4]
    return (shifts + anchors).reshape(-1, 4)  # the order of a head's map once it is permuted to [h,w,A]
