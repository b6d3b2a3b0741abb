"""How YOLOX writes boxes: the centre from the corner of its cell, the sides as logarithms of strides."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxCoder
from detzoo.ops.box_coder import decode_centre_size

_UNIT = (1.0, 1.0, 1.0, 1.0)
EPSILON = 1e-8
"""Added to a ratio of sides before its logarithm, as in ``YOLOXHead.get_l1_target``: boxes without width are finite."""


class CellCorner(BoxCoder):
    """Offsets of the centre from the top left corner of the candidate, and logarithms of the ratios of sides.

    Candidates are cells: squares of one stride.

    Args:
        clamp: upper bound of log side ratios when decoding; null for none (YOLOX): e^88 is more than a float holds.

    Source: Megvii-BaseDetection/YOLOX, ``YOLOXHead.get_output_and_grid``.
    """

    name: ClassVar[str] = "cell_corner"

    def __init__(self, *, clamp: Annotated[float, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.clamp = clamp

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Deltas [...,4] of ``targets`` [...,4] seen from the cells ``boxes`` [...,4]; strides play no part."""
        cell = boxes[..., 2:] - boxes[..., :2]
        centre, side = (targets[..., :2] + targets[..., 2:]) / 2, targets[..., 2:] - targets[..., :2]
        return torch.cat([(centre - boxes[..., :2]) / cell, torch.log(side / cell + EPSILON)], dim=-1)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px; strides play no part."""
        return decode_centre_size(deltas, _around_corner(boxes), _UNIT, clamp=self.clamp)


def _around_corner(boxes: Tensor) -> Tensor:
    """Boxes [...,4] moved by half their sides, so that their middle is what was their top left corner."""
    half = (boxes[..., 2:] - boxes[..., :2]) / 2
    return boxes - torch.cat([half, half], dim=-1)
