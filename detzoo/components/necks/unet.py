"""U-Net's expanding path as a neck."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from detzoo.components.necks.pyramid import check_pyramid
from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs


class Unet(Neck):
    """From coarse to fine: upsample, concatenate with the backbone's map, two 3x3 convolutions.

    Source: Ronneberger et al. 2015 (arXiv:1505.04597), figure 1. Deliberate differences: nearest upsampling to the
    finer map's size in place of the transposed convolution, padded convolutions in place of cropping, batch norm, and
    the same number of channels at every level, so that heads that share their weights can follow.

    Args:
        features: maps of the backbone, finest first.
        channels: of every map that leaves.
        levels: those that leave, finest first; null for all.
        norm: ``batch`` or ``none``.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: Annotated[int, Field(ge=1)] = 128,
        levels: tuple[str, ...] | None = None,
        norm: Literal["none", "batch"] = "batch",
    ) -> None:
        super().__init__()
        check_pyramid("unet", features)
        wanted = tuple(features) if levels is None else levels
        if not wanted or wanted != tuple(name for name in features if name in wanted):
            raise RecipeError(
                f"neck: levels [{', '.join(wanted)}] must be among [{', '.join(features)}], in that order, each once"
            )
        names = list(features)
        norm_layer = nn.BatchNorm2d if norm == "batch" else None
        self.blocks = nn.ModuleDict()
        for name in names[names.index(wanted[0]) :]:  # finer levels than the first wanted are never computed
            above = 0 if name == names[-1] else channels  # the coarsest has nothing above it
            self.blocks[name] = nn.Sequential(
                Conv2dNormActivation(features[name].channels + above, channels, 3, norm_layer=norm_layer),
                Conv2dNormActivation(channels, channels, 3, norm_layer=norm_layer),
            )
        self.out = {name: FeatureSpec(channels, features[name].stride, features[name].size) for name in wanted}

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """[B,channels,h,w] for each level that leaves."""
        maps: FeatureMaps = {}
        above = None
        for name, block in reversed(list(self.blocks.items())):
            x = features[name]
            if above is not None:
                x = torch.cat((x, F.interpolate(above, size=x.shape[-2:], mode="nearest")), dim=1)
            above = maps[name] = block(x)
        return {name: maps[name] for name in self.out}
