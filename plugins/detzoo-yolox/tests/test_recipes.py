"""The recipes: they build, and have as many parameters as YOLOX's README says."""

from __future__ import annotations

import pytest
import torch

from detzoo.builder import build
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

# Megvii's README, millions; S by its own count
PUBLISHED = {
    "yolox_nano_coco": 0.91,
    "yolox_tiny_coco": 5.06,
    "yolox_s_coco": 8.97,
    "yolox_m_coco": 25.3,
    "yolox_l_coco": 54.2,
    "yolox_x_coco": 99.1,
    "yolox_darknet53_coco": 63.7,
}
OWN = ("yolox_mobilenet_v2", "yolox_efficientnet_lite0")


def test_this_table_names_every_recipe_of_the_plugin() -> None:
    manifest = get_registry().plugins.records["yolox"].manifest
    assert manifest is not None
    assert sorted(manifest.detectors) == sorted([*PUBLISHED, *OWN])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_published_number_of_parameters(name: str) -> None:
    with torch.device("meta"):  # no initial weights are drawn
        detector = build(name, weights=None)
    millions = sum(parameter.numel() for parameter in detector.parameters()) / 1e6
    assert round(millions, len(str(PUBLISHED[name]).partition(".")[2])) == PUBLISHED[name]


def test_mosaic_and_mixup_end_when_the_late_box_loss_begins() -> None:
    values = load_recipe("yolox_s_coco").values
    late = values["loss"]["late_from"]
    closing = {one["type"]: one["active"][1] for one in values["train"]["transforms"]}
    assert closing == {"mosaic": late, "mixup": late, "hsv_shift": 1.0, "flip": 1.0}
    assert values["train"]["schedule"]["plateau"] == pytest.approx(1 - late)


def test_neither_biases_nor_norms_decay() -> None:
    for name in (*PUBLISHED, *OWN):
        assert load_recipe(name).values["train"]["optimizer"]["decay"] == "filters"
