"""The recipes: all of them build, and say what the sources say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from detzoo.builder import build
from detzoo.recipes.recipe import load_recipe

PARAMETERS = {
    "ssd300_vgg16": 35_641_826,  # torchvision's Weights.meta
    "ssd300_vgg16_coco": 34_305_206,
    "ssd300_vgg16_tutorial": 26_285_486,
    "ssd300_vgg16_voc": 26_285_486,  # amdegroot's and lufficc's SSD300 for VOC
    "ssd512_vgg16_coco": 36_038_196,
    "ssd512_vgg16_voc": 27_188_676,
    "ssd_inception_v2": 23_566_252,
    "ssd_mobilenet_v1": 6_658_964,
    "ssd_mobilenet_v1_075": 3_989_988,
    "ssd_mobilenet_v1_fpn": 12_500_792,
    "ssd_mobilenet_v2": 5_886_548,
    "ssd_mobilenet_v2_openimages": 4_954_427,
    "ssd_mobilenet_v2_fpn": 4_905_337,
    "ssd_resnet50_v1_fpn": 33_260_600,
    "ssd_ultralight_face_rfb": 276_292,
    "ssd_ultralight_face_slim": 260_188,
    "ssdlite300_mobilenet_v2": 4_320_660,
    "ssdlite320_mobilenet_v3_large": 3_440_060,  # torchvision's Weights.meta
    "ssdlite320_mobilenet_v3_small": 1_764_068,
    "ssdlite_mobilenet_v2": 4_484_148,
}
VOC_AP = {
    "ssd300_vgg16_voc": 77.2,
    "ssd512_vgg16_voc": 79.8,
    "ssd300_vgg16_tutorial": 77.2,
}
PYRAMIDS = {"ssd_mobilenet_v1_fpn", "ssd_resnet50_v1_fpn"}  # RetinaNets: grid anchors, and focal loss without mining
COCO_AP = {"ssd300_vgg16": 25.1, "ssdlite320_mobilenet_v3_large": 21.3, "ssd300_vgg16_coco": 25.1}


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def test_this_table_names_every_recipe_of_the_plugin() -> None:
    from detzoo.plugins.registry import get_registry

    manifest = get_registry().plugins.records["ssd"].manifest
    assert manifest is not None
    assert sorted(manifest.detectors) == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_recipe_builds(name: str) -> None:
    with torch.device("meta"):  # the largest would draw a hundred million initial weights
        detector = build(name, weights=None)
    assert sum(parameter.numel() for parameter in detector.parameters()) == PARAMETERS[name]
    assert recipe(name)["summary"]
    assert recipe(name)["profile"] in {"paper", "torchvision", "port", "modern"}


@pytest.mark.parametrize("name", sorted(PARAMETERS.keys() - PYRAMIDS))
def test_every_choice_is_a_named_field(name: str) -> None:
    values = recipe(name)
    assert {"clip", "steps", "offset", "flip", "unit", "integer_cut"} <= values["head"]["anchors"].keys()
    assert {"threshold", "tie"} <= values["matcher"].keys()
    assert {"ratio", "min_negatives"} <= values["loss"]["miner"].keys()


@pytest.mark.parametrize("name", sorted(PYRAMIDS))
def test_pyramids_are_those_of_tensorflows_configurations(name: str) -> None:
    values = recipe(name)
    assert values["input"]["size"] == [640, 640]
    assert values["neck"] | {"norm": None} == {
        "type": "fpn", "channels": 256, "extra": "p6p7", "extra_from": "p5", "norm": None,
    }  # fmt: skip
    anchors = values["head"]["anchors"]
    assert anchors["sizes"] == [[4 * 2**level] for level in range(3, 8)]  # anchor_scale 4, levels 3 to 7
    assert (anchors["octave"], anchors["ratios"]) == (2, [0.5, 1.0, 2.0])
    head = values["head"]
    assert (head["channels"], head["depth"], head["scoring"], head["foreground_prior"]) == (256, 4, "sigmoid", 0.01)
    assert values["loss"]["classification"] == {"type": "focal", "alpha": 0.25, "gamma": 2.0}
    assert values["loss"]["miner"] is None
    train = values["train"]
    assert (train["steps"], train["batch"], train["optimizer"]["lr"]) == (25_000, 64, 0.04)


def test_ssds_of_tensorflow_share_all_but_what_their_configurations_change() -> None:
    one, inception, lite = recipe("ssd_mobilenet_v1"), recipe("ssd_inception_v2"), recipe("ssdlite300_mobilenet_v2")
    same = ("input", "matcher", "sampler", "loss", "postprocess", "train")
    assert {part: inception[part] for part in same} == {part: one[part] for part in same}
    assert (inception["head"]["predictors"], one["head"]["predictors"]) == (["conv3x3"], ["conv1x1"])
    assert (lite["head"]["predictors"], lite["neck"]["depthwise"]) == (["depthwise"], True)
    assert lite["loss"]["miner"]["min_negatives"] == 3
    assert recipe("ssd_mobilenet_v1_075")["neck"]["channels"] == [c * 3 // 4 for c in one["neck"]["channels"]]


def test_paper_matches_bipartite_and_ports_do_not() -> None:
    assert recipe("ssd300_vgg16_voc")["matcher"]["tie"] == "bipartite"
    assert recipe("ssd300_vgg16")["matcher"]["tie"] == "last_write_wins"
    assert recipe("ssd300_vgg16_tutorial")["matcher"]["tie"] == "last_write_wins"


def test_mining_and_divisor() -> None:
    loss = recipe("ssd300_vgg16_voc")["loss"]
    assert loss["miner"] == {"type": "hard_negative", "ratio": 3.0, "scope": "image", "min_negatives": 0}
    assert loss["normaliser"]["scope"] == "batch"


def test_normalisation_belongs_to_the_weights() -> None:
    caffe, torchvision = recipe("ssd300_vgg16_voc")["input"], recipe("ssd300_vgg16")["input"]
    assert (caffe["channels"], caffe["mean"], caffe["pixel_range"]) == ("bgr", [104.0, 117.0, 123.0], 255)
    assert (torchvision["channels"], torchvision["pixel_range"]) == ("rgb", 1)
    assert torchvision["mean"] == [0.48235, 0.45882, 0.40784]
    assert torchvision["std"] == [1 / 255] * 3


def test_difficult_boxes_are_trained_on() -> None:
    assert recipe("ssd300_vgg16_voc")["train"]["difficult"] == "train"
    assert recipe("ssd300_vgg16_coco")["train"]["crowd"] == "drop"


def test_augmentation_of_the_paper() -> None:
    steps = recipe("ssd300_vgg16_voc")["train"]["transforms"]
    assert [step["type"] for step in steps] == ["photometric_distort", "expand", "iou_crop", "flip"]
    assert (steps[1]["ratio"], steps[1]["fill"]) == (4.0, [123.0, 117.0, 104.0])  # the input's mean, as RGB


def test_learning_rate_belongs_to_batch_32() -> None:
    train = recipe("ssd300_vgg16_voc")["train"]
    assert (train["batch"], train["optimizer"]["lr"], train["steps"]) == (32, 1e-3, 120_000)
    assert train["optimizer"]["bias_lr_multiplier"] == 2.0
    assert train["optimizer"]["decay"] == "filters"
    assert train["clip_norm"] is None


def test_coco_labels_are_category_minus_one() -> None:
    classes = build("ssdlite320_mobilenet_v3_large", weights=None).classes
    assert len(classes) == 90
    assert classes[0] == "person"
    assert classes[16] == "cat"  # category 17
    assert classes[11] is None  # category 12, street sign, was never annotated
    assert classes[89] == "toothbrush"


def test_tutorial_averages_l1_over_the_coordinates() -> None:
    loss = recipe("ssd300_vgg16_tutorial")["loss"]
    assert loss["box"] == {"type": "l1"}
    assert loss["box_weight"] == 1 / 4
    assert recipe("ssd300_vgg16_voc")["loss"]["box"] == {"type": "smooth_l1", "beta": 1.0}


@pytest.mark.parametrize("name", VOC_AP)
def test_reported_on_voc(name: str) -> None:
    found = [r["value"] for r in recipe(name)["reported"] if r["dataset"] == "VOC 2007 test"]
    assert found == [VOC_AP[name]]


@pytest.mark.parametrize("name", COCO_AP)
def test_reported_on_coco(name: str) -> None:
    found = [r["value"] for r in recipe(name)["reported"] if r["metric"] == "AP"]
    assert found == [COCO_AP[name]]


def test_reported_class_aps_of_the_tutorial_have_its_mean() -> None:
    per_class = recipe("ssd300_vgg16_tutorial")["reported"][0]["per_class"]
    assert len(per_class) == 20
    assert sum(per_class.values()) / 20 == pytest.approx(77.2, abs=0.05)


@pytest.mark.parametrize(
    ("name", "digest"), [("ssd300_vgg16", "b556d3b4"), ("ssdlite320_mobilenet_v3_large", "a79551df")]
)
def test_published_weights_carry_torchvisions_digest(name: str, digest: str) -> None:
    (weights,) = recipe(name)["weights"]
    assert weights["sha256"] == digest
    assert weights["url"].endswith(f"-{digest}.pth")
    assert weights["source"] == "torchvision"
    assert weights["licence"].startswith("BSD-3-Clause")
