"""The encoder of Deformable DETR: cells of several maps look at a few points around themselves, on every map.

Letters: B images, S cells of all maps, L maps, F width of the transformer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detzoo.types import FeatureMaps, FeatureSpecs, ImageBatch
from detzoo_detr.deformable_attention import DeformableAttention, Shapes
from detzoo_detr.encoder import locate_all
from detzoo_detr.position import Cells
from detzoo_detr.transformer import FeedForward, Transformer


@dataclass(frozen=True)
class DeformableMemory:
    """What the queries read.

    Args:
        cells: float [B,S,F].
        places: where they lie.
        shapes: (h, w) of the maps.
    """

    cells: Tensor
    places: Cells
    shapes: Shapes

    def on_maps(self, reference: Tensor) -> Tensor:
        """Points or boxes [B,Q,2|4] of the image as fractions of each map with its padding [B,Q,L,2|4]."""
        frame = self.places.frame.unsqueeze(1)  # [B,1,L,4]
        points = frame[..., :2] + reference[:, :, None, :2] * frame[..., 2:]
        sizes = reference[:, :, None, 2:] * frame[..., 2 : reference.shape[2]]
        return torch.cat([points, sizes], dim=3)


class Projection(nn.Sequential):
    """A convolution to the transformer's width, and a group norm.

    Args:
        channels: of the map.
        width: F.
        groups: of the norm.
        halve: a 3x3 convolution with stride 2 makes the next, coarser map; else a 1x1 convolution.
    """

    def __init__(self, channels: int, width: int, *, groups: int, halve: bool) -> None:
        conv = nn.Conv2d(channels, width, 3, stride=2, padding=1) if halve else nn.Conv2d(channels, width, 1)
        nn.init.xavier_uniform_(conv.weight)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        super().__init__(conv, nn.GroupNorm(groups, width))


class DeformableEncoderLayer(nn.Module):
    """Every cell reads points around itself on all maps.

    Args:
        size: of the transformer.
        points: of each map, for each head.
        levels: L.
    """

    def __init__(self, size: Transformer, *, points: int, levels: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(width=size.width, heads=size.heads, points=(points,) * levels)
        self.norm, self.dropout = nn.LayerNorm(size.width), nn.Dropout(size.dropout)
        self.feed_forward = FeedForward(size)

    def forward(self, cells: Tensor, places: Cells, reference: Tensor, shapes: Shapes) -> Tensor:
        """Cells float [B,S,F], of the same; ``reference`` float [B,S,L,2] says where they lie on each map."""
        seen = self.attention(cells + places.position, reference, cells, shapes, places.inside)
        return self.feed_forward(self.norm(cells + self.dropout(seen)))  # type: ignore[no-any-return]


class DeformableEncoder(nn.Module):
    """Maps, projected to one width, with coarser ones behind them, through the encoder's layers.

    Args:
        features: the neck's maps, finest first.
        size: of the transformer.
        levels: L; those beyond the neck's are made by convolutions with stride 2, the first from the neck's last map.
        points: that a head of a cell reads on each map.
        groups: of the group norms behind the projections.

    Source: Zhu et al. 2021 (arXiv:2010.04159), section 4.1 and appendix A.2.
    """

    def __init__(self, features: FeatureSpecs, *, size: Transformer, levels: int, points: int, groups: int) -> None:
        super().__init__()
        self.width = size.width
        channels = [spec.channels for spec in features.values()]
        more = levels - len(channels)
        self.project = nn.ModuleList(Projection(one, size.width, groups=groups, halve=False) for one in channels)
        for one in [channels[-1], *[size.width] * more][:more]:
            self.project.append(Projection(one, size.width, groups=groups, halve=True))
        self.level = nn.Embedding(levels, size.width)
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(size, points=points, levels=levels) for _ in range(size.encoder_layers)
        )

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> DeformableMemory:
        """Encode the maps."""
        maps = self.projected(features)
        places = locate_all(maps, batch, self.width, self.level, middle=True)
        shapes = [(one.shape[-2], one.shape[-1]) for one in maps.values()]
        cells = torch.cat([one.flatten(2).transpose(1, 2) for one in maps.values()], dim=1)  # [B,S,F]
        memory = DeformableMemory(cells, places, shapes)
        reference = memory.on_maps(places.centre)
        for layer in self.layers:
            cells = layer(cells, places, reference, shapes)
        return DeformableMemory(cells, places, shapes)

    def projected(self, features: FeatureMaps) -> FeatureMaps:
        """L maps [B,F,h,w]."""
        given = list(features.values())
        maps: list[Tensor] = []
        for level, layer in enumerate(self.project):
            source = given[level] if level < len(given) else given[-1] if level == len(given) else maps[-1]
            maps.append(layer(source))
        return {str(level): one for level, one in enumerate(maps)}
