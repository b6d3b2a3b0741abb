"""One backbone at several sizes of the image."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from detzoo.builder import build_component
from detzoo.components.backbones.image_pyramid import ImagePyramid
from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone
from detzoo.types import FeatureMaps, FeatureSpec


class Means(Backbone):
    """Mean colour of cells of 4 px."""

    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(3, 4.0)}

    def forward(self, pixels: torch.Tensor) -> FeatureMaps:
        return {"s4": F.avg_pool2d(pixels, 4, ceil_mode=True)}


def test_maps_are_those_of_the_resized_image() -> None:
    pyramid = ImagePyramid(backbone=Means(), ratios=(0.5, 1.0))
    pixels = torch.randn(2, 3, 32, 48)

    maps = pyramid(pixels)

    assert list(maps) == ["s4@1", "s4@0.5"]
    assert {name: spec.stride for name, spec in pyramid.out.items()} == {"s4@1": 4.0, "s4@0.5": 8.0}
    torch.testing.assert_close(maps["s4@1"], F.avg_pool2d(pixels, 4))
    half = F.interpolate(pixels, (16, 24), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps["s4@0.5"], F.avg_pool2d(half, 4))


def test_levels_of_several_maps_stand_finest_first() -> None:
    built = build_component(
        "backbone",
        {
            "type": "image_pyramid",
            "backbone": {"type": "mobilenet_v2", "levels": ["s8", "s16"], "width": 0.25},
            "ratios": [0.75, 1.5],
        },
        input_size=None,
    )

    strides = {name: round(spec.stride, 3) for name, spec in built.out.items()}

    assert strides == {"s8@1.5": 5.333, "s8@0.75": 10.667, "s16@1.5": 10.667, "s16@0.75": 21.333}
    assert list(built(torch.zeros(1, 3, 64, 64))) == list(strides)


@pytest.mark.parametrize("ratios", [(), (1.0, 0.5, 1.0)])
def test_ratios_that_repeat(ratios: tuple[float, ...]) -> None:
    with pytest.raises(RecipeError) as caught:
        ImagePyramid(backbone=Means(), ratios=ratios)

    assert str(caught.value) == f"ratios must name at least one size, each once, found {list(ratios)}"
