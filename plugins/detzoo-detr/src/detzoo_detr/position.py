"""Where a cell or a box lies, as sines and cosines.

Letters: B images, h w cells, N boxes, F numbers of an encoding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

TEMPERATURE: Final = 10_000.0


def sine(position: Tensor, numbers: int) -> Tensor:
    """Sines and cosines of geometrically falling frequencies: sin(p / T^(2i/F)), cos(p / T^(2i/F)), in turns.

    Args:
        position: float [...], radians; a whole side is 2 pi.
        numbers: F, even.

    Returns:
        float [...,F].

    Source: Vaswani et al. 2017, section 3.5, for one axis of DETR's ``PositionEmbeddingSine``.
    """
    step = torch.arange(0, numbers, 2, device=position.device, dtype=torch.float32) / numbers
    angle = position.unsqueeze(-1) / TEMPERATURE**step  # [...,F/2]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


@dataclass(frozen=True)
class Cells:
    """The cells of a map, flattened row by row.

    Args:
        inside: bool [B,h*w]: the cell covers a part of its image, not padding alone.
        position: float [B,h*w,F]: sines of the row, then of the column, within the image.
        centre: float [B,h*w,2]: (x, y) of the middle, in fractions of the image.
    """

    inside: Tensor
    position: Tensor
    centre: Tensor


def locate(region: Tensor, cells: tuple[int, int], size: tuple[int, int], numbers: int, *, middle: bool) -> Cells:
    """Where the cells of a map lie in each image.

    Args:
        region: float [B,4] xyxy px: the images inside their padding.
        cells: (h, w).
        size: (height, width) of the network input, px.
        numbers: F, of both axes together; a multiple of 4.
        middle: a cell counts as lying at its middle, else at its far end (DETR: the first of n cells is at 1 / n).

    Source: DETR, ``PositionEmbeddingSine`` with ``normalize``; rows before columns.
    """
    axes = []
    for axis, (count, length) in enumerate(zip(cells, size, strict=True)):
        begin, end = region[:, 1 - axis, None], region[:, 3 - axis, None]  # axis 0 is y
        start = torch.arange(count, device=region.device, dtype=torch.float32) * (length / count)
        # nothing else is known of a cell: where an image is thinner than a stride, one of them still covers it
        inside = (start < end) & (start + length / count > begin)  # [B,count]
        passed = inside.float().cumsum(1)
        total = passed[:, -1:].clamp(min=1)
        axes.append((inside, (passed - 0.5 if middle else passed) / total))
    (rows, y), (columns, x) = axes
    inside = (rows.unsqueeze(2) & columns.unsqueeze(1)).flatten(1)
    y, x = (part.expand(-1, *cells).flatten(1) for part in (y.unsqueeze(2), x.unsqueeze(1)))
    encoded = torch.cat([sine(part * (2 * math.pi), numbers // 2) for part in (y, x)], dim=-1)
    return Cells(inside, encoded, torch.stack([x, y], dim=-1))
