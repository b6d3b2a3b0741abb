"""NanoDet's neck: a pyramid that has no convolutions but those which bring all maps to one width."""

from __future__ import annotations

import itertools
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.necks.pyramid import check_pyramid
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs


class NanoDetPan(Neck):
    """From coarse to fine, then from fine to coarse; neighbours are resized bilinearly and added.

    Args:
        features: maps of the backbone, finest first, each coarser than the one before.
        channels: of every map that leaves; one 1x1 convolution with bias brings each map to it.

    A map is resized to the size of its neighbour, so that any input size works.

    Source: RangiLyu/nanodet 0.x, ``PAN`` with neither norm nor activation; Liu et al. 2018 (PANet, arXiv:1803.01534),
    whose 3x3 convolutions it leaves out.
    """

    name: ClassVar[str] = "nanodet_pan"

    def __init__(self, features: FeatureSpecs, /, *, channels: Annotated[int, Field(ge=1, le=8192)] = 96) -> None:
        super().__init__()
        check_pyramid("nanodet_pan", features)
        self.names = tuple(features)
        self.laterals = nn.ModuleList(nn.Conv2d(spec.channels, channels, 1) for spec in features.values())
        for conv in self.laterals:
            assert isinstance(conv, nn.Conv2d)
            nn.init.xavier_uniform_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.out = {name: FeatureSpec(channels, spec.stride, spec.size) for name, spec in features.items()}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Maps of the same names and sizes."""
        maps = [lateral(features[name]) for name, lateral in zip(self.names, self.laterals, strict=True)]
        for coarse, fine in itertools.pairwise(reversed(range(len(maps)))):
            maps[fine] = maps[fine] + _resized(maps[coarse], maps[fine])
        for fine, coarse in itertools.pairwise(range(len(maps))):
            maps[coarse] = maps[coarse] + _resized(maps[fine], maps[coarse])
        return dict(zip(self.names, maps, strict=True))


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
