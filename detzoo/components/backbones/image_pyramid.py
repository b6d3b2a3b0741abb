"""The same backbone at several sizes of the image."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps

Ratio = Annotated[float, Field(gt=0)]


class ImagePyramid(Backbone):
    """Resizes the network pixels and runs one backbone on each size.

    The maps of ratio r are named ``LEVEL@r``; their stride is the level's divided by r, in pixels that came in.

    Args:
        backbone: shared by all sizes.
        ratios: sizes relative to the network pixels, each once.

    Raises:
        RecipeError: a ratio that repeats, or none.

    Source: He et al. 2014 (arXiv:1406.4729), section 4.1: short sides 480, 576, 688, 864, 1200, that is ratios
    0.4, 0.48, 0.5733, 0.72 and 1 of an input of 1200. Difference: there each size is made from the image, here from
    the network pixels, bilinearly.
    """

    expects = None  # the inner backbone's file is checked on its own

    def __init__(self, *, backbone: Backbone, ratios: tuple[Ratio, ...] = (1.0,)) -> None:
        super().__init__()
        if not ratios or len(set(ratios)) < len(ratios):
            raise RecipeError(f"ratios must name at least one size, each once, found {list(ratios)}")
        self.backbone, self.ratios = backbone, tuple(sorted(ratios, reverse=True))
        out = {
            # rounded sizes: not declared
            f"{name}@{ratio:g}": dataclasses.replace(spec, stride=spec.stride / ratio, size=None)
            for ratio in self.ratios
            for name, spec in backbone.out.items()
        }
        self.out = dict(sorted(out.items(), key=lambda item: item[1].stride))

    def forward(self, pixels: Tensor) -> FeatureMaps:
        """Maps by level and ratio, finest first."""
        height, width = pixels.shape[-2:]
        maps: FeatureMaps = {}
        for ratio in self.ratios:
            size = max(1, round(height * ratio)), max(1, round(width * ratio))
            same = size == (height, width)
            scaled = pixels if same else F.interpolate(pixels, size, mode="bilinear", align_corners=False)
            maps |= {f"{name}@{ratio:g}": values for name, values in self.backbone(scaled).items()}
        return {name: maps[name] for name in self.out}  # finest first, though the sizes were computed ratio by ratio
