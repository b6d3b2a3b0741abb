"""Multi-scale deformable attention: each query reads the maps at a few points that it chooses itself.

Letters: B images, Q queries, S cells of all maps, L maps, E heads, D numbers of a head, F = E D width, P points that a
head of a query reads on all maps together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Method = Literal["default", "discrete"]
Shapes = Sequence[tuple[int, int]]
"""(h, w) of each map, in the order in which their cells stand in a row."""


def deformable_attention(
    value: Tensor,
    shapes: Shapes,
    locations: Tensor,
    weights: Tensor,
    *,
    points: Sequence[int],
    method: Method = "default",
) -> Tensor:
    """The weighted sum of what the maps say at given points.

    Args:
        value: float [B,S,E,D], the cells of each map row by row, map after map.
        shapes: (h, w) of the maps; S is the sum of h w.
        locations: float [B,Q,E,P,2], (x, y) in fractions of the maps: (0, 0) is the left top corner of the first cell,
            (1, 1) the right bottom corner of the last.
        weights: float [B,Q,E,P].
        points: how many of the P points are of each map; the points of the first map come first.
        method: ``default`` interpolates between the middles of four cells and takes zeros outside the map;
            ``discrete`` reads the nearest cell, of the map's edge for points outside (RT-DETRv2), and gives
            the locations no gradient.

    Returns:
        float [B,Q,E*D].

    Source: Zhu et al. 2021, Deformable DETR (arXiv:2010.04159), eq. 3, its ``ms_deform_attn_core_pytorch``; for
    ``discrete`` Lv et al. 2024, RT-DETRv2 (arXiv:2407.17140), section 3.
    """
    images, queries, heads = locations.shape[:3]
    size = value.shape[3]
    rows = value.permute(0, 2, 3, 1).flatten(0, 1)  # [BE,D,S]
    maps = torch.split(rows, [h * w for h, w in shapes], dim=2)
    places = torch.split(locations.transpose(1, 2).flatten(0, 1), list(points), dim=2)  # [BE,Q,p,2] of each map
    shares = torch.split(weights.transpose(1, 2).flatten(0, 1).unsqueeze(1), list(points), dim=3)  # [BE,1,Q,p]
    read = _interpolated if method == "default" else _nearest
    found = torch.zeros((), dtype=value.dtype, device=value.device)
    for one, (h, w), place, share in zip(maps, shapes, places, shares, strict=True):
        found = found + (read(one.view(-1, size, h, w), place) * share).sum(3)  # [BE,D,Q]
    return found.view(images, heads * size, queries).transpose(1, 2)


def _interpolated(feature: Tensor, place: Tensor) -> Tensor:
    """float [BE,D,Q,p]: bilinear, of a map [BE,D,h,w] at [BE,Q,p,2]."""
    return F.grid_sample(
        feature, (2 * place - 1).to(feature.dtype), mode="bilinear", padding_mode="zeros", align_corners=False
    )


def _nearest(feature: Tensor, place: Tensor) -> Tensor:
    """float [BE,D,Q,p]: the cell in which a point lies after half a cell is added, as the authors round."""
    h, w = feature.shape[2], feature.shape[3]
    x = (place[..., 0] * w + 0.5).long().clamp(0, w - 1)
    y = (place[..., 1] * h + 0.5).long().clamp(0, h - 1)
    index = (y * w + x).flatten(1).unsqueeze(1).expand(-1, feature.shape[1], -1)  # [BE,D,Qp]
    found = feature.flatten(2).gather(2, index)
    return found.view(feature.shape[0], feature.shape[1], place.shape[1], place.shape[2])


class DeformableAttention(nn.Module):
    """Offsets and weights of the points are linear in the query; the points lie around its reference.

    Args:
        width: F.
        heads: E.
        points: how many points a head reads on each map, from the finest.
        method: as in ``deformable_attention``.
        offset_scale: around a reference box, offset 1 of a map with p points is this times 1 / p of the box's side.
        project: values and results pass a linear layer each; D-FINE has neither.

    Source: Deformable DETR, section 4.1, appendix A.2 for how offsets start: each head looks in a direction of its
    own, the first point one cell away, the second two.
    """

    levels: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        points: Sequence[int],
        method: Method = "default",
        offset_scale: float = 0.5,
        project: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.points, self.method = heads, tuple(points), method
        total = sum(self.points)
        self.offsets = nn.Linear(width, heads * total * 2)
        self.weights = nn.Linear(width, heads * total)
        self.value = nn.Linear(width, width) if project else nn.Identity()
        self.out = nn.Linear(width, width) if project else nn.Identity()
        levels = [level for level, count in enumerate(self.points) for _ in range(count)]
        scale = [[offset_scale / self.points[level]] for level in levels]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)  # [P]
        self.register_buffer("scale", torch.tensor(scale), persistent=False)  # [P,1]
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Weights as the authors start them."""
        nn.init.zeros_(self.offsets.weight)
        self.offsets.bias.copy_(directions(self.heads, self.points).flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        for layer in (self.value, self.out):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self, query: Tensor, reference: Tensor, cells: Tensor, shapes: Shapes, inside: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            query: float [B,Q,F].
            reference: float [B,Q,L or 1,2] points, or [B,Q,L or 1,4] boxes as cx, cy, w, h, in fractions of the maps.
                Offsets are in cells around a point, and in shares of a box's sides around a box.
            cells: float [B,S,F].
            shapes: (h, w) of the maps.
            inside: bool [B,S]: the cells of the image; those of padding are zeros. None: all are of the image.

        Returns:
            float [B,Q,F].
        """
        value = self.value(cells)
        if inside is not None:
            value = value.masked_fill(~inside.unsqueeze(2), 0)
        offsets = self.offsets(query).unflatten(2, (self.heads, -1, 2))  # [B,Q,E,P,2]
        weights = self.weights(query).unflatten(2, (self.heads, -1)).softmax(3)  # [B,Q,E,P]
        seen = deformable_attention(
            value.unflatten(2, (self.heads, -1)), shapes, self.locations(offsets, reference, shapes), weights,
            points=self.points, method=self.method,
        )  # fmt: skip
        return self.out(seen)  # type: ignore[no-any-return]

    def locations(self, offsets: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """float [B,Q,E,P,2] in fractions of the maps."""
        around = reference if reference.shape[2] == 1 else reference[:, :, self.levels]  # [B,Q,P or 1,.]
        around = around.unsqueeze(2)
        if reference.shape[3] == 4:
            return around[..., :2] + offsets * self.scale * around[..., 2:]
        parts = torch.split(offsets, list(self.points), dim=3)
        cells = [torch.stack([p[..., 0] / w, p[..., 1] / h], -1) for p, (h, w) in zip(parts, shapes, strict=True)]
        return around + torch.cat(cells, dim=3)


def directions(heads: int, points: Sequence[int]) -> Tensor:
    """float [E,P,2]: where offsets start: heads around the circle (on a square), points one step further each."""
    angle = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    square = circle / circle.abs().amax(1, keepdim=True)  # [E,2]
    steps = torch.cat([torch.arange(1, count + 1, dtype=torch.float32) for count in points])  # [P]
    return square.unsqueeze(1) * steps[:, None]
