"""The recipes: they build, and have as many parameters as mmdetection's README says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from detzoo.builder import build
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

# Counted on mmdetection 3.3's own networks; its README says 4.8 M, 8.89 M, 24.71 M and 52.3 M.
PUBLISHED = {
    "rtmdet_tiny_coco": 4_896_168,
    "rtmdet_s_coco": 8_886_924,
    "rtmdet_m_coco": 24_709_188,
    "rtmdet_l_coco": 52_315_804,
}
OWN = ("rtmdet_mobilenet_v2",)


def test_this_table_names_every_recipe_of_the_plugin() -> None:
    manifest = get_registry().plugins.records["rtmdet"].manifest
    assert manifest is not None
    assert sorted(manifest.detectors) == sorted([*PUBLISHED, *OWN])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):  # no initial weights are drawn
        detector = build(name, weights=None)
    assert sum(parameter.numel() for parameter in detector.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_last_twenty_epochs_have_a_jitter_of_the_image_alone(name: str) -> None:
    plan = load_recipe(name).values["train"]
    closing = 1 - 20 / plan["epochs"]
    by_name: dict[str, list[list[Any]]] = {}
    for one in plan["transforms"]:
        by_name.setdefault(one["type"], []).append([pytest.approx(edge, abs=1e-4) for edge in one["active"]])
    assert by_name["mosaic"] == by_name["mixup"] == [[0, closing]]
    assert by_name["large_scale_jitter"] == [[0, closing], [closing, 1]]
    assert by_name["hsv_shift"] == by_name["flip"] == [[0, 1]]
    mosaics, images = (one["scale"] for one in plan["transforms"] if one["type"] == "large_scale_jitter")
    assert mosaics[1] == 2 * images[1]  # a mosaic has twice the side of the input, and is itself scaled by up to 2


@pytest.mark.parametrize("name", [*PUBLISHED, *OWN])
def test_neither_biases_nor_norms_decay(name: str) -> None:
    assert load_recipe(name).values["train"]["optimizer"]["decay"] == "filters"
