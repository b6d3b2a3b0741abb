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
EPS: Final = 1e-6
"""Added to the number of cells by which positions are divided, as DETR's code does."""


def sine(position: Tensor, numbers: int, *, frequencies: torch.dtype = torch.float32) -> Tensor:
    """Sines and cosines of geometrically falling frequencies: sin(p / T^(2i/F)), cos(p / T^(2i/F)), in turns.

    Args:
        position: float32 or float64 [...], radians; a whole side is 2 pi.
        numbers: F, even.
        frequencies: what they are computed in; the angles are of the wider of this and ``position``.

    Returns:
        float [...,F].

    Source: Vaswani et al. 2017, section 3.5, for one axis of DETR's ``PositionEmbeddingSine``.
    """
    step = torch.arange(0, numbers, 2, device=position.device, dtype=frequencies) / numbers
    angle = position.unsqueeze(-1) / TEMPERATURE**step  # [...,F/2]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


@dataclass(frozen=True)
class Cells:
    """The cells of a map, flattened row by row; of several maps one after another.

    Args:
        inside: bool [B,h*w]: the cell covers a part of its image, not padding alone.
        position: float [B,h*w,F]: sines of the row, then of the column, within the image.
        centre: float [B,h*w,2]: (x, y) of the middle, in fractions of the image.
        frame: float [B,1,4]: the image's cells as left, top, width, height in fractions of the map; [B,L,4] of L maps.
    """

    inside: Tensor
    position: Tensor
    centre: Tensor
    frame: Tensor


def locate(
    region: Tensor,
    cells: tuple[int, int],
    size: tuple[int, int],
    numbers: int,
    *,
    middle: bool,
    dtype: torch.dtype = torch.float32,
) -> Cells:
    """Where the cells of a map lie in each image.

    Args:
        region: float [B,4] xyxy px: the images inside their padding.
        cells: (h, w).
        size: (height, width) of the network input, px.
        numbers: F, of both axes together; a multiple of 4.
        middle: sines are of a cell's middle, else of its far end (DETR: the first of n cells is at 1 / n).
        dtype: of the result, float32 or float64.

    Source: DETR, ``PositionEmbeddingSine`` with ``normalize``; rows before columns.
    """
    rows, columns = (_axis(region.to(dtype), axis, cells[axis], size[axis]) for axis in (0, 1))
    inside = (rows.inside.unsqueeze(2) & columns.inside.unsqueeze(1)).flatten(1)
    y, x = ((axis.passed - 0.5) / axis.total for axis in (rows, columns))
    far = 0.5 if middle else 0.0
    angles = [(axis.passed - far) / (axis.total + EPS) * (2 * math.pi) for axis in (rows, columns)]
    encoded = [
        _over_map(sine(angle, numbers // 2, frequencies=dtype), axis, cells) for axis, angle in enumerate(angles)
    ]
    centre = [_over_map(part.unsqueeze(2), axis, cells) for axis, part in ((1, x), (0, y))]
    frame = torch.cat(
        [columns.first / cells[1], rows.first / cells[0], columns.total / cells[1], rows.total / cells[0]], dim=1
    ).unsqueeze(1)
    return Cells(inside, torch.cat(encoded, dim=-1), torch.cat(centre, dim=-1), frame)


@dataclass(frozen=True)
class _Axis:
    """Rows or columns: which show a part of the image [B,n], how many up to each, before the first and in all [B,1]."""

    inside: Tensor
    passed: Tensor
    first: Tensor
    total: Tensor


def _axis(region: Tensor, axis: int, count: int, length: int) -> _Axis:
    """One axis of ``locate``; axis 0 is y."""
    begin, end = region[:, 1 - axis, None], region[:, 3 - axis, None]
    start = torch.arange(count, device=region.device, dtype=region.dtype) * (length / count)
    # nothing else is known of a cell: where an image is thinner than a stride, one of them still covers it
    inside = (start < end) & (start + length / count > begin)
    passed = inside.to(region.dtype).cumsum(1)
    first = (start + length / count <= begin).to(region.dtype).sum(1, keepdim=True)
    return _Axis(inside, passed, first, passed[:, -1:].clamp(min=1))


def _over_map(values: Tensor, axis: int, cells: tuple[int, int]) -> Tensor:
    """float [B,h*w,F]: values [B,n,F] of the rows (axis 0) or columns (axis 1), at every cell."""
    return values.unsqueeze(2 - axis).expand(-1, *cells, -1).flatten(1, 2)
