"""How YOLO writes boxes: a place within the cell, and sides relative to an anchor (v2, v3) or to the image (v1).

Letters: [...] any leading dimensions.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxCoder
from detzoo.ops.boxes import cxcywh_to_xyxy, full_precision, xyxy_to_cxcywh

EDGE: Final = 1e-6
"""How near to the border of a cell a centre may lie before its logit is cut."""


class AnchorCoder(BoxCoder):
    """x = cell + sigmoid(t) x stride; w = anchor x exp(t).

    Args:
        scale_xy: stretches the sigmoid about the middle of the cell, so that its borders can be reached (YOLOv4's
            ``scale_x_y``); 1 in v2 and v3.
        clamp: upper bound of t_w and t_h when decoding; null for none, as in darknet.

    Source: YOLO9000, section 2, "Direct location prediction".
    """

    name: ClassVar[str] = "yolo_anchor"

    def __init__(
        self,
        *,
        scale_xy: Annotated[float, Field(ge=1, le=2)] = 1.0,
        clamp: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__()
        self.scale_xy = scale_xy
        self.clamp = clamp

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """t [...,4] of ``targets`` [...,4] seen from anchors ``boxes`` [...,4]; centres are cut to their cell."""
        place = self.place(targets, boxes, strides)
        return torch.cat([torch.logit(place[..., :2].clamp(EDGE, 1 - EDGE)), place[..., 2:]], -1)  # logit(0) is -inf

    def place(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """What sigmoid(t_x), sigmoid(t_y), t_w, t_h should be, [...,4]: the first two in cells, before any cut."""
        truth, anchor = xyxy_to_cxcywh(full_precision(targets)), xyxy_to_cxcywh(full_precision(boxes))
        # anchors stand mid-cell
        within = (truth[..., :2] - anchor[..., :2]) / strides.unsqueeze(-1) / self.scale_xy + 0.5
        return torch.cat([within, (truth[..., 2:] / anchor[..., 2:]).log()], -1)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px."""
        deltas, anchor = full_precision(deltas), xyxy_to_cxcywh(full_precision(boxes))
        within = (torch.sigmoid(deltas[..., :2]) - 0.5) * self.scale_xy
        centre = anchor[..., :2] + within * strides.unsqueeze(-1)
        ratio = deltas[..., 2:] if self.clamp is None else deltas[..., 2:].clamp(max=self.clamp)  # darknet has no bound
        return cxcywh_to_xyxy(torch.cat([centre, anchor[..., 2:] * ratio.exp()], -1))


class GridCoder(BoxCoder):
    """x in cells from the cell's corner; the square roots of the sides as parts of the image (YOLOv1).

    Owned by ``yolo_grid``, which knows its grid; a recipe does not name it.

    Args:
        grid: (rows, columns).
        square_root: else the sides themselves.

    Source: Redmon et al. 2016, sections 2 and 2.2; darknet, detection_layer.c.
    """

    def __init__(self, *, grid: tuple[int, int], square_root: bool) -> None:
        super().__init__()
        self.grid = grid
        self.square_root = square_root

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Offsets and (roots of) sides [...,4] of ``targets`` [...,4] seen from cells ``boxes`` [...,4]."""
        truth, cell = xyxy_to_cxcywh(full_precision(targets)), xyxy_to_cxcywh(full_precision(boxes))
        within = (truth[..., :2] - cell[..., :2]) / cell[..., 2:] + 0.5
        sides = truth[..., 2:] / self._image(cell)
        return torch.cat([within, sides.clamp(min=0).sqrt() if self.square_root else sides], -1)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px; a negative root counts as its square, a negative side as none."""
        deltas, cell = full_precision(deltas), xyxy_to_cxcywh(full_precision(boxes))
        centre = cell[..., :2] + (deltas[..., :2] - 0.5) * cell[..., 2:]
        # linear outputs may be negative
        sides = deltas[..., 2:].square() if self.square_root else deltas[..., 2:].clamp(min=0)
        return cxcywh_to_xyxy(torch.cat([centre, sides * self._image(cell)], -1))

    def _image(self, cell: Tensor) -> Tensor:
        """(width, height) of the network input, [...,2]."""
        return cell[..., 2:] * cell.new_tensor([self.grid[1], self.grid[0]])


def logit(probability: float) -> float:
    """The inverse of the sigmoid."""
    return math.log(probability / (1 - probability))
