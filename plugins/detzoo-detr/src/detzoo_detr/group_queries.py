"""Two-stage queries in groups: the best cells of a map give each group its boxes (LW-DETR, RF-DETR).

Letters: B images, S cells, Q queries of a group, G groups, K classes, F width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from detzoo.ops.boxes import full_precision
from detzoo.ops.ranking import gather_rows
from detzoo_detr.transformer import Mlp

SIDE: Final = 0.05
"""Sides of a cell's first box, in fractions of the image."""
MARGIN: Final = 0.01
"""Cells whose middle lies nearer to the image's border, in fractions of the image, give no query."""
PRIOR: Final = 0.01
"""Where untrained scores start."""


@dataclass(frozen=True)
class Grid:
    """The cells of a map in their images.

    Args:
        cells: float [B,S,F], zero where not ``usable``.
        boxes: float [B,S,4] cx, cy, w, h in fractions of the image, zero where not ``usable``.
        usable: bool [B,S]: in the image, and not at its border.
        inside: bool [B,S]: the cell covers a part of its image.
    """

    cells: Tensor
    boxes: Tensor
    usable: Tensor
    inside: Tensor


def grid_of(cells: Tensor, shape: tuple[int, int], region: Tensor, size: tuple[int, int]) -> Grid:
    """Where the cells of a map lie.

    Args:
        cells: float [B,S,F] of one map, row by row.
        shape: (h, w) of the map.
        region: float [B,4] xyxy px: the images inside their padding.
        size: (height, width) of the network input, px.

    Source: Zhu et al. 2021 (Deformable DETR, arXiv:2010.04159), appendix A.4. Difference: the image's own pixels are
    counted, not whole cells of it.
    """
    region = region.to(full_precision(cells).dtype)
    middles, insides = [], []
    for axis, (count, length) in enumerate(zip(shape, size, strict=True)):  # 0 is y
        begin, end = region[:, 1 - axis, None], region[:, 3 - axis, None]
        start = torch.arange(count, device=region.device, dtype=region.dtype) * (length / count)
        middles.append((start + length / count / 2 - begin) / (end - begin))  # [B,count]
        insides.append((start < end) & (start + length / count > begin))
    centre = torch.stack(
        [middles[1].unsqueeze(1).expand(-1, *shape), middles[0].unsqueeze(2).expand(-1, *shape)], dim=-1
    ).flatten(1, 2)  # [B,S,2]
    inside = (insides[0].unsqueeze(2) & insides[1].unsqueeze(1)).flatten(1)
    usable = inside & ((centre > MARGIN) & (centre < 1 - MARGIN)).all(-1)
    boxes = torch.cat([centre, torch.full_like(centre, SIDE)], dim=-1)
    keep = usable.unsqueeze(-1)
    return Grid(torch.where(keep, cells, 0), torch.where(keep, boxes, 0), usable, inside)


def refined(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes cx, cy, w, h [...,4] moved by ``deltas`` [...,4] in their own sides, which are multiplied by exponentials.

    Source: LW-DETR (arXiv:2406.03459), appendix; ``bbox_reparam`` in its code.
    """
    deltas, side = full_precision(deltas), boxes[..., 2:]
    return torch.cat([deltas[..., :2] * side + boxes[..., :2], deltas[..., 2:].exp() * side], dim=-1)


class Proposals(nn.Module):
    """The best cells of one group, and their boxes.

    Args:
        width: F.
        num_classes: K.
    """

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.project, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.classes, self.boxes = nn.Linear(width, num_classes), Mlp(width, width, 4, depth=3)
        start_outputs(self.classes, self.boxes)

    def forward(self, grid: Grid, count: int) -> tuple[Tensor, Tensor]:
        """Class logits [B,count,K] and boxes [B,count,4] of the cells with the highest scores, best first."""
        seen = self.norm(self.project(grid.cells))
        scores = self.classes(seen).amax(-1).masked_fill(~grid.usable, -math.inf)
        row = scores.topk(count, dim=1).indices
        chosen = gather_rows(seen, row)
        return self.classes(chosen), refined(gather_rows(grid.boxes, row), self.boxes(chosen))


@torch.no_grad()
def start_outputs(classes: nn.Linear, boxes: Mlp) -> None:
    """Scores start at ``PRIOR``, boxes where they are."""
    classes.bias.fill_(-math.log((1 - PRIOR) / PRIOR))
    last = boxes[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
