"""D-FINE's boxes: each edge is a distribution over distances from an initial box, fine near it and coarse far away.

Letters: B images, N queries, R bins.

Source: Peng et al. 2024, D-FINE (arXiv:2410.13842), section 4.1; Peterande/D-FINE, ``dfine_utils.py``.
"""

from __future__ import annotations

from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from detzoo.interfaces import BoxCoder
from detzoo.ops.boxes import full_precision, sides
from detzoo.ops.distributions import neighbouring_bins

SMALLEST: Final = 1e-6
"""Px: sides of a candidate by which distances are divided are not smaller."""


def weighting_function(last: int, *, up: float, reg_scale: float) -> Tensor:
    """W(n), the distance that each bin stands for, in units of a side of the box divided by ``reg_scale``.

    With a = ``up``, c = 1 / ``reg_scale`` and N = ``last``: W(0) = -2 a / c, W(N) = 2 a / c, W(N / 2) = 0, and between
    them the geometric -(s^i) + 1 and s^i - 1 for i bins from the middle, s = (a / c + 1)^(2 / (N - 2)).

    Args:
        last: N, even, at least 4; there are N + 1 bins.
        up: a, how far an edge reaches by the inner bins, in sides; the outermost reach twice as far.
        reg_scale: how much finer bins near the middle are.

    Returns:
        float64 [N + 1], ascending.

    Source: D-FINE, eq. 3.
    """
    reach = up * reg_scale
    step = (reach + 1) ** (2 / (last - 2))
    right = [step**i - 1 for i in range(1, last // 2)] + [2 * reach]
    return torch.tensor([-value for value in reversed(right)] + [0.0] + right, dtype=torch.float64)


def between_bins(distance: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The bin to the left of each distance, and how much of the target goes to the bin on its right.

    Args:
        distance: float [...], any.
        values: float [R], ascending.

    Returns:
        int64 [...] from 0 to R - 2, and float [...] in [0,1]. A distance outside gives all to the outermost bin.
    """
    values = values.to(distance.dtype)
    return neighbouring_bins(torch.minimum(torch.maximum(distance, values[0]), values[-1]), values)


class FineGrained(BoxCoder):
    """Distances by which the four edges lie outside those of the candidate, as weighted sums over W(n).

    An edge moves outwards by distance * side / ``reg_scale``, side being the candidate's width or height. The candidate
    is D-FINE's initial box.

    Args:
        last: number of the last bin, even; there is one more.
        up: sides by which an edge can move by the inner bins; twice as many by the outermost.
        reg_scale: how much finer bins near the middle are; also the unit: 8 in D-FINE-X, 4 elsewhere.

    Source: D-FINE, eq. 2 and 3; its ``weighting_function``, ``distance2bbox`` and ``bbox2distance``.
    """

    values: Tensor

    def __init__(
        self,
        *,
        last: Annotated[int, Field(ge=4, le=512, multiple_of=2)] = 32,
        up: Annotated[float, Field(gt=0)] = 0.5,
        reg_scale: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__()
        self.last, self.up, self.reg_scale = last, up, reg_scale
        values = weighting_function(last, up=up, reg_scale=reg_scale).float()
        self.register_buffer("values", values, persistent=False)  # not in checkpoints

    @property
    def bins(self) -> Tensor:
        """float [last + 1]: W(n)."""
        return self.values

    def encode(self, targets: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Distances [...,4] of the edges of ``targets`` [...,4] from those of ``boxes``; strides play no part."""
        targets, boxes = full_precision(targets), full_precision(boxes)
        outwards = torch.cat([boxes[..., :2] - targets[..., :2], targets[..., 2:] - boxes[..., 2:]], dim=-1)
        return outwards / self._units(boxes)

    def decode(self, deltas: Tensor, boxes: Tensor, strides: Tensor) -> Tensor:
        """Boxes [...,4] xyxy px; strides play no part."""
        boxes = full_precision(boxes)
        moved = full_precision(deltas) * self._units(boxes)
        return torch.cat([boxes[..., :2] - moved[..., :2], boxes[..., 2:] + moved[..., 2:]], dim=-1)

    def _units(self, boxes: Tensor) -> Tensor:
        """Px of one unit of (left, top, right, bottom): [...,4]."""
        width, height = (side.clamp(min=SMALLEST) / self.reg_scale for side in sides(boxes))
        return torch.stack([width, height, width, height], dim=-1)


class LocationQuality(nn.Module):
    """One number to be added to all class logits of a query, from how sharp the distributions of its four edges are.

    Args:
        outputs: an MLP from 4 * (top + 1) numbers to one.
        top: highest probabilities of each edge that are read, beside their mean.

    Source: D-FINE, ``LQE``; Li et al. 2021, GFLv2 (arXiv:2011.12885), section 3.2.
    """

    def __init__(self, outputs: nn.Module, *, top: int) -> None:
        super().__init__()
        self.outputs, self.top = outputs, top

    def forward(self, distribution: Tensor) -> Tensor:
        """Logits float [B,N,4,R] -> float [B,N,1]."""
        highest = torch.softmax(distribution, dim=-1).topk(self.top, dim=-1).values
        read = torch.cat([highest, highest.mean(-1, keepdim=True)], dim=-1)  # [B,N,4,top + 1]
        quality: Tensor = self.outputs(read.flatten(2))
        return quality
