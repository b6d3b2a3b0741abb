"""Candidates in every cell of feature maps, and predictions of maps in their order: level, row, column, cell entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from detzoo.ops.anchors import cell_anchors, shift_over_grid
from detzoo.types import Candidates, FeatureMaps, Level

if TYPE_CHECKING:
    from detzoo.interfaces.supporting import BoxCoder


def grid_candidates(
    features: FeatureMaps,
    strides: Mapping[str, float],
    sides: Sequence[float],
    *,
    coder: BoxCoder | None = None,
    offset: float = 0.5,
) -> Candidates:
    """Squares around a point of every cell, which usually is its middle.

    Args:
        features: maps [B,C,h,w], finest first; only their sizes and device are read.
        strides: network px per cell of each map, by name.
        sides: of the squares in each cell, in strides of their map.
        coder: the head's box coder; None where nothing is decoded.
        offset: the point in its cell, in cells: 0.5 is the middle, 0 the top left corner (RTMDet).

    Returns:
        boxes [1,N,4], all valid, with their levels.
    """
    boxes, levels = [], []
    for name, feature in features.items():
        height, width = feature.shape[-2:]
        stride = strides[name]
        cell = cell_anchors([side * stride for side in sides], [1.0]).to(feature.device)
        boxes.append(shift_over_grid(cell, height, width, (stride, stride), offset=offset))
        levels.append(Level(name, height, width, len(sides), stride))
    every = torch.cat(boxes).unsqueeze(0)
    valid = torch.ones(every.shape[:2], dtype=torch.bool, device=every.device)
    return Candidates(every, valid, tuple(levels), coder)


def rows(answer: Tensor, columns: int) -> Tensor:
    """A map's predictions, one row for each candidate: [B,A*columns,h,w] -> [B,h*w*A,columns]."""
    images, channels, height, width = answer.shape  # no len(): an exported graph leaves the number of images free
    # [h,w,A], as the candidates lie
    return answer.permute(0, 2, 3, 1).reshape(images, height * width * channels // columns, columns)
