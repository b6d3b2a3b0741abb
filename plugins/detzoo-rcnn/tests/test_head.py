"""The layers behind a window."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec
from detzoo_rcnn.head import RegionFc
from detzoo_rcnn.spatial_pyramid import SpatialPyramid
from detzoo_rcnn.warp import Warp

SPECS = {"s16": FeatureSpec(8, 16.0), "s32": FeatureSpec(6, 32.0)}


def head(**changes: object) -> RegionFc:
    torch.manual_seed(0)
    return RegionFc(SPECS, 3, **{"roi_pool": Warp(size=(64, 64)), "grid": (2, 2), "fc": (5, 4), **changes})  # type: ignore[arg-type]


def test_no_windows() -> None:
    vectors, logits = head()(torch.zeros(0, 6, 2, 2))

    assert {name: tuple(values.shape) for name, values in vectors.items()} == {
        "pool5": (0, 24),
        "fc6": (0, 5),
        "fc7": (0, 4),
    }
    assert logits.shape == (0, 4)


def test_vectors_stand_behind_the_relu_and_ahead_of_the_dropout() -> None:
    made = head(dropout=0.5).train()
    maps = torch.randn(7, 6, 4, 6, generator=torch.Generator().manual_seed(1))

    vectors, _ = made(maps)

    flat = F.avg_pool2d(maps, (2, 3)).flatten(1)  # 4 x 6 cells to 2 x 2
    torch.testing.assert_close(vectors["pool5"], flat)
    torch.testing.assert_close(vectors["fc6"], F.relu(made.fc[0](flat)))
    vectors, logits = made.eval()(maps)
    torch.testing.assert_close(vectors["fc7"], F.relu(made.fc[1](vectors["fc6"])))
    torch.testing.assert_close(logits, made.classification(vectors["fc7"]))


def test_windows_of_maps_have_the_size_of_their_pooling() -> None:
    made = head(roi_pool=SpatialPyramid(SPECS, levels=("s16",)), grid=None, fc=())

    assert {name: spec.channels for name, spec in made.out.items()} == {"pool5": 8 * 50}


def test_windows_of_pixels_need_a_grid() -> None:
    with pytest.raises(RecipeError) as caught:
        head(grid=None)

    assert str(caught.value) == "grid is missing: maps of warped windows are averaged to it, as [6, 6]"


def test_windows_of_maps_have_no_grid() -> None:
    with pytest.raises(RecipeError) as caught:
        head(roi_pool=SpatialPyramid(SPECS, levels=("s16",)))

    assert str(caught.value) == (
        "grid has no place here: SpatialPyramid pools maps to [1, 50] itself; write grid: null"
    )


def test_caffes_initialisation() -> None:
    made = head(init="normal", fc=(2000,))

    assert float(made.state_dict()["fc.0.weight"].std()) == pytest.approx(0.005, rel=0.05)
    assert made.classification.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not made.classification.bias.any()
