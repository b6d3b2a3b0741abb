"""What both of DETR's heads begin with: maps, flattened, whose cells have looked at each other.

Letters: B images, S cells of all maps, F width of the transformer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detzoo.types import FeatureMaps, FeatureSpecs, ImageBatch
from detzoo_detr.position import Cells, locate
from detzoo_detr.transformer import EncoderLayer, Transformer, start


@dataclass(frozen=True)
class Memory:
    """What the queries look at.

    Args:
        cells: float [B,S,F].
        places: where they lie.
        bias: float [B,1,1,S]: -inf for cells of padding, else 0.
    """

    cells: Tensor
    places: Cells
    bias: Tensor


class Encoder(nn.Module):
    """All maps, their channels reduced to the transformer's width, through the encoder's layers as one row of cells.

    Args:
        features: the neck's maps: one in DETR; several are told apart by a learned vector each (Deformable DETR).
        size: of the transformer.
        middle: where a cell lies, as in ``locate``.
    """

    def __init__(self, features: FeatureSpecs, *, size: Transformer, middle: bool) -> None:
        super().__init__()
        self.width, self.middle = size.width, middle
        self.project = nn.ModuleDict({name: nn.Conv2d(spec.channels, size.width, 1) for name, spec in features.items()})
        self.level = nn.Embedding(len(features), size.width) if len(features) > 1 else None
        self.layers = nn.ModuleList(EncoderLayer(size) for _ in range(size.encoder_layers))
        start(self.layers)

    def forward(self, features: FeatureMaps, batch: ImageBatch) -> Memory:
        """Encode the maps."""
        maps = {name: layer(features[name]) for name, layer in self.project.items()}  # [B,F,h,w]
        places = locate_all(maps, batch, self.width, self.level, middle=self.middle)
        cells = torch.cat([one.flatten(2).transpose(1, 2) for one in maps.values()], dim=1)  # [B,S,F]
        bias = torch.zeros_like(places.inside, dtype=torch.float32).masked_fill(~places.inside, -math.inf)
        bias = bias[:, None, None]  # [B,1,1,S]
        for layer in self.layers:
            cells = layer(cells, places.position, bias)
        return Memory(cells, places, bias)


def locate_all(maps: FeatureMaps, batch: ImageBatch, width: int, level: nn.Embedding | None, *, middle: bool) -> Cells:
    """Where the cells of all maps lie.

    Args:
        maps: float [B,F,h,w] each.
        batch: the images.
        width: F.
        level: a vector of each map, which tells its cells from those of the others; None: there is none.
        middle: as in ``locate``.
    """
    size = (batch.pixels.shape[-2], batch.pixels.shape[-1])
    inside, position, centre, frame = [], [], [], []
    for row, one in enumerate(maps.values()):
        dtype = torch.promote_types(one.dtype, torch.float32)
        found = locate(batch.region, (one.shape[-2], one.shape[-1]), size, width, middle=middle, dtype=dtype)
        encoded = found.position.to(one.dtype)
        inside.append(found.inside)
        position.append(encoded if level is None else encoded + level.weight[row])
        centre.append(found.centre)
        frame.append(found.frame)
    return Cells(torch.cat(inside, 1), torch.cat(position, 1), torch.cat(centre, 1), torch.cat(frame, 1))
