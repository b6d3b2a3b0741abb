"""The recipes say what the papers and their releases say."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe


def values(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def test_every_recipe_resolves() -> None:
    manifest = get_registry().plugins.records["rcnn"].manifest
    assert manifest is not None
    assert sorted(manifest.detectors) == [
        "rcnn_caffenet_voc",
        "rcnn_mobilenet_v2",
        "rcnn_vgg16_voc",
        "sppnet_mobilenet_v2",
        "sppnet_zf5_voc",
    ]
    for name in manifest.detectors:
        assert values(name)["architecture"] == "region_svm"


def test_fine_tuning_of_the_release() -> None:
    recipe = values("rcnn_caffenet_voc")
    train, sampler = recipe["train"], recipe["sampler"]

    assert (train["optimizer"]["lr"], train["optimizer"]["momentum"], train["optimizer"]["weight_decay"]) == (
        1e-3,
        0.9,
        5e-4,
    )
    assert train["schedule"]["milestones"] == [20000, 40000, 60000]
    assert (train["batch"] * sampler["size"], sampler["positive_fraction"]) == (128, 0.25)  # 32 + 96 windows
    assert (recipe["matcher"]["positive_threshold"], recipe["matcher"]["negative_threshold"]) == (0.5, 0.5)
    assert [transform["type"] for transform in train["transforms"]] == ["flip"]


def test_windows_of_the_release() -> None:
    pool = values("rcnn_caffenet_voc")["head"]["roi_pool"]

    assert pool == {"type": "warp", "size": [227, 227], "context": 16, "frame": "warp", "samples": 1}
    assert values("rcnn_vgg16_voc")["head"]["roi_pool"]["size"] == [224, 224]
    small = values("rcnn_mobilenet_v2")["head"]["roi_pool"]
    assert small["context"] == round(16 * 128 / 227)


def test_svms_and_boxes_of_the_release() -> None:
    recipe = values("rcnn_caffenet_voc")

    assert recipe["classifier"] == {
        "type": "linear_svm",
        "feature": "fc7",
        "penalty": 1e-3,
        "bias": 10.0,
        "positive_weight": 2.0,
        "positive_overlap": None,
        "negative_overlap": 0.3,
        "norm": 20.0,
        "hard": -1.0001,
        "evict": -1.2,
        "retrain_every": 2000,
        "passes": 1,
        "seed": 0,
    }
    regressor = recipe["regressor"]
    assert (regressor["feature"], regressor["penalty"], regressor["min_overlap"]) == ("pool5", 1000.0, 0.6)
    assert recipe["postprocess"]["suppress"] == {"type": "nms", "iou": 0.3, "legacy_plus_one": False}


def test_spp_net_of_the_release() -> None:
    """Five short sides, 50 bins, negatives from IoU 0.1 in fine-tuning, frozen convolutions."""
    recipe = values("sppnet_zf5_voc")

    sides = [round(recipe["input"]["min_size"] * ratio) for ratio in recipe["backbone"]["ratios"]]
    assert sides == [1200, 864, 688, 576, 480]
    assert sum(n * n for n in recipe["head"]["roi_pool"]["bins"]) == 50
    assert 16 * recipe["head"]["roi_pool"]["cells"] == 224
    assert recipe["matcher"]["negative_floor"] == 0.1
    assert recipe["freeze_convolutions"]
    assert recipe["train"]["schedule"]["milestones"] == [30000, 60000]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("rcnn_caffenet_voc", [58.5, 54.2]),
        ("rcnn_vgg16_voc", [66.0, 62.2]),
        ("sppnet_zf5_voc", [59.2, 58.0]),
        ("rcnn_mobilenet_v2", []),
    ],
)
def test_reported_results(name: str, numbers: list[float]) -> None:
    reported = values(name)["reported"]

    assert [one["value"] for one in reported] == numbers
    assert all(one["protocol"] and one["source"] for one in reported)
