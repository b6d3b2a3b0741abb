"""torchvision's recipes: they build, and say what torchvision's sources say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from detzoo.builder import build
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

BUILDERS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": "FasterRCNN_MobileNet_V3_Large_320_FPN_Weights",
    "fasterrcnn_mobilenet_v3_large_fpn": "FasterRCNN_MobileNet_V3_Large_FPN_Weights",
    "fasterrcnn_resnet50_fpn": "FasterRCNN_ResNet50_FPN_Weights",
    "fasterrcnn_resnet50_fpn_v2": "FasterRCNN_ResNet50_FPN_V2_Weights",
    "maskrcnn_resnet50_fpn": "MaskRCNN_ResNet50_FPN_Weights",
    "maskrcnn_resnet50_fpn_v2": "MaskRCNN_ResNet50_FPN_V2_Weights",
}


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def plugin_recipes() -> list[str]:
    manifest = get_registry().plugins.records["faster_rcnn"].manifest
    assert manifest is not None
    return sorted(manifest.detectors)


@pytest.mark.parametrize("name", plugin_recipes())
def test_every_recipe_resolves(name: str) -> None:
    values = recipe(name)
    assert values["architecture"] == "two_stage"
    assert values["summary"]
    assert values["profile"] in {"paper", "torchvision", "port", "modern"}


@pytest.mark.slow
@pytest.mark.parametrize("name", plugin_recipes())
def test_every_recipe_builds(name: str) -> None:
    assert sum(parameter.numel() for parameter in build(name, weights=None).parameters()) > 1_000_000


@pytest.mark.parametrize(("name", "enum"), BUILDERS.items())
def test_published_weights_and_results_are_those_of_torchvision(name: str, enum: str) -> None:
    published = getattr(torchvision.models.detection, enum).COCO_V1
    (weights,) = recipe(name)["weights"]
    assert weights["url"] == published.url
    assert published.url.endswith(f"-{weights['sha256']}.pth")
    assert weights["source"] == "torchvision"
    assert weights["licence"].startswith("BSD-3-Clause")
    assert weights["note"].startswith(f"{published.meta['num_params']:,} parameters")
    metrics = published.meta["_metrics"]["COCO-val2017"]
    reported = {r["metric"]: r["value"] for r in recipe(name)["reported"]}
    assert reported["AP"] == metrics["box_map"]
    assert reported.get("mask AP") == metrics.get("mask_map")


def test_low_proposals_have_the_same_weights_and_a_fiftieth_of_the_regions() -> None:
    few, many = recipe("fasterrcnn_resnet50_fpn_lowproposals"), recipe("fasterrcnn_resnet50_fpn")
    assert (few["proposals"]["postprocess"]["keep"], many["proposals"]["postprocess"]["keep"]) == (20, 1000)
    assert few["weights"][0]["sha256"] == many["weights"][0]["sha256"]
    few["proposals"]["postprocess"]["keep"] = 1000
    same = ("backbone", "neck", "proposals", "box", "input", "train")
    assert {key: few[key] for key in same} == {key: many[key] for key in same}


@pytest.mark.parametrize("name", BUILDERS)
def test_smooth_l1_is_a_ninth_in_both_stages(name: str) -> None:
    values = recipe(name)
    for stage in (values["proposals"], values["box"]):
        assert stage["loss"]["box"] == {"type": "smooth_l1", "beta": 1 / 9}
        assert stage["loss"]["normaliser"]["type"] == "sampled"


@pytest.mark.parametrize("name", BUILDERS)
def test_anchors_are_whole_pixels(name: str) -> None:
    anchors = recipe(name)["proposals"]["head"]["anchors"]
    assert (anchors["rounding"], anchors["stride"], anchors["offset"]) == ("int", "floor", 0.0)


@pytest.mark.parametrize("name", BUILDERS)
def test_roi_align_is_not_shifted(name: str) -> None:
    pool = recipe(name)["box"]["head"]["roi_pool"]
    assert (pool["type"], pool["aligned"], pool["sampling_ratio"]) == ("roi_align", False, 2)


def test_regions_are_counted_per_image() -> None:
    regions = recipe("fasterrcnn_resnet50_fpn")["proposals"]
    assert (regions["postprocess"]["per_level_top_k"], regions["postprocess"]["keep"]) == (1000, 1000)
    assert (regions["training_postprocess"]["per_level_top_k"], regions["training_postprocess"]["keep"]) == (2000, 2000)


@pytest.mark.parametrize("name", BUILDERS)
def test_ground_truth_joins_the_regions_and_border_anchors_stay(name: str) -> None:
    values = recipe(name)
    assert values["box"]["append_ground_truth"] is True
    assert values["proposals"]["matcher"]["straddle"] is None


def test_norms_are_frozen_in_v1_and_live_in_v2() -> None:
    v1, v2 = recipe("fasterrcnn_resnet50_fpn")["backbone"], recipe("fasterrcnn_resnet50_fpn_v2")["backbone"]
    assert (v1["norm"], v1["norm_eps"], v1["freeze"]) == ("frozen", 0.0, ["conv1", "layer1"])
    assert (v2["norm"], v2["norm_eps"], v2["freeze"]) == ("batch", 1e-5, False)
    assert recipe("fasterrcnn_mobilenet_v3_large_fpn")["backbone"]["norm_eps"] == 1e-5


def test_labels_are_categories_minus_one() -> None:
    with torch.device("meta"):
        classes = build("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None).classes
    assert len(classes) == 90
    assert (classes[0], classes[11], classes[16], classes[89]) == ("person", None, "cat", "toothbrush")


@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_masks_are_pasted_with_whole_corners(name: str) -> None:
    mask = recipe(name)["mask"]
    assert (mask["paste"], mask["threshold"], mask["head"]["roi_pool"]["output"]) == ("integer", 0.5, [14, 14])
