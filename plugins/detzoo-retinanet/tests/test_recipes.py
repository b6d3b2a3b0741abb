"""The recipes: they build, and say what torchvision's sources, the paper and Detectron say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from detzoo.builder import build
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

BUILDERS = {
    "fcos_resnet50_fpn": "FCOS_ResNet50_FPN_Weights",
    "retinanet_resnet50_fpn": "RetinaNet_ResNet50_FPN_Weights",
    "retinanet_resnet50_fpn_v2": "RetinaNet_ResNet50_FPN_V2_Weights",
}
GFL = "gfl_mobilenet_v2"
NANODET = "nanodet_m_coco"
PAPER = ("retinanet_resnet50_fpn_paper", "retinanet_resnet101_fpn_paper")
PARAMETERS = {
    "fcos_resnet50_fpn": 32_269_600,  # torchvision's Weights.meta, as the next two
    "retinanet_resnet50_fpn": 34_014_999,
    "retinanet_resnet50_fpn_v2": 38_198_935,
    # 11 classes fewer are 9 · 11 · (9 · 256 + 1) = 228,195; P6 from C5 costs 9 · 256 · (2048 - 256) = 4,128,768
    "retinanet_resnet50_fpn_paper": 34_014_999 - 228_195 + 4_128_768,
    "retinanet_resnet101_fpn_paper": 56_855_476,
    "retinanet_mobilenet_v2": 3_761_012,
    "fcos_mobilenet_v2": 3_180_986,
    # one anchor in place of nine: 8 · (80 + 4) outputs of 9 · 96 weights and a bias less
    "retinanet_mobilenet_v2_atss": 3_761_012 - 8 * 84 * (9 * 96 + 1),
    # four distributions over 17 bins in place of four numbers, and a factor for each of five maps
    "nanodet_m_coco": 950_036,  # 0.95 M, says NanoDet's README
    "gfl_mobilenet_v2": 3_761_012 - 8 * 84 * (9 * 96 + 1) + 4 * 16 * (9 * 96 + 1) + 5,
}


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def test_this_table_names_every_recipe_of_the_plugin() -> None:
    manifest = get_registry().plugins.records["retinanet"].manifest
    assert manifest is not None
    assert sorted(manifest.detectors) == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_recipe_resolves(name: str) -> None:
    values = recipe(name)
    assert values["architecture"] == "one_stage"
    assert values["summary"]
    assert values["profile"] in {"paper", "torchvision", "modern", "port"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_recipe_builds(name: str) -> None:
    with torch.device("meta"):  # no initial weights are drawn
        detector = build(name, weights=None)
    assert sum(parameter.numel() for parameter in detector.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize(("name", "enum"), BUILDERS.items())
def test_published_weights_and_results_are_those_of_torchvision(name: str, enum: str) -> None:
    published = getattr(torchvision.models.detection, enum).COCO_V1
    (weights,) = recipe(name)["weights"]
    assert weights["url"] == published.url
    assert published.url.endswith(f"-{weights['sha256']}.pth")
    assert weights["source"] == "torchvision"
    assert weights["licence"].startswith("BSD-3-Clause")
    assert weights["note"] == f"{published.meta['num_params']:,} parameters"
    (reported,) = recipe(name)["reported"]
    assert reported["value"] == published.meta["_metrics"]["COCO-val2017"]["box_map"]
    assert reported["verified"] is True


def test_the_papers_results_name_the_table_they_were_read_in() -> None:
    reported = {r["value"]: (r["source"], r["verified"]) for r in recipe(PAPER[1])["reported"]}
    assert reported == {
        37.8: ("arXiv 1708.02002v2, table 1e", True),
        39.1: ("arXiv 1708.02002v2, table 2", True),
    }


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_choice_is_a_named_field(name: str) -> None:
    values = recipe(name)
    assert {"octave", "octave_rounding", "offset", "rounding", "stride"} <= values["head"]["anchors"].keys()
    wanted = {"beta"} if name in (GFL, NANODET) else {"alpha", "gamma"}
    assert wanted == values["loss"]["classification"].keys() - {"type"}
    assert values["loss"]["normaliser"]["at_least"] == 1.0
    assert "prior" in values["head"]
    assert {"per_level_top_k", "score_threshold", "keep"} <= values["postprocess"].keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_focal_loss_of_the_paper(name: str) -> None:
    values = recipe(name)
    quality = {"type": "quality_focal", "beta": 2.0}
    focal = {"type": "focal", "alpha": 0.25, "gamma": 2.0}
    assert values["loss"]["classification"] == (quality if name in (GFL, NANODET) else focal)
    assert values["head"]["prior"] == 0.01


def test_atss_and_gfl_have_the_settings_of_their_releases() -> None:
    """sfzhang15/ATSS, configs/atss/atss_R_50_FPN_1x.yaml; mmdetection, configs/gfl/gfl_r50_fpn_1x_coco.py."""
    atss, gfl = recipe("retinanet_mobilenet_v2_atss"), recipe(GFL)
    for values in (atss, gfl):
        assert values["head"]["anchors"]["sizes"] == [[64], [128], [256], [512], [1024]]  # 8 strides
        assert values["head"]["anchors"]["ratios"] == [1.0]
        assert values["matcher"]["type"] == "atss"
        assert values["matcher"]["nearest"] == 9
        assert values["loss"]["box"] == {"type": "giou"}
        assert values["loss"]["box_weight"] == 2.0
        assert values["postprocess"]["suppress"]["iou"] == 0.6
    assert (gfl["head"]["box_coder"]["reg_max"], gfl["loss"]["distribution_weight"]) == (16, 0.25)
    assert (gfl["loss"]["target"], gfl["loss"]["box_by"]) == ("iou", "score")
    assert gfl["loss"]["box_normaliser"]["type"] == "qualities"


def test_nanodet_has_the_settings_of_its_config() -> None:
    """RangiLyu/nanodet 0.x, config/nanodet-m.yml."""
    values = recipe(NANODET)
    assert values["head"]["anchors"]["sizes"] == [[40], [80], [160]]  # octave_base_scale 5
    assert values["head"]["box_coder"]["reg_max"] == 7
    assert (values["loss"]["box_weight"], values["loss"]["distribution_weight"]) == (2.0, 0.25)
    assert (values["matcher"]["type"], values["matcher"]["nearest"]) == ("atss", 9)
    assert (values["postprocess"]["score_threshold"], values["postprocess"]["suppress"]["iou"]) == (0.05, 0.6)
    train = values["train"]
    assert (train["epochs"], train["batch"], train["optimizer"]["lr"]) == (190, 160, 0.14)


def test_box_losses() -> None:
    box = {name: recipe(name)["loss"]["box"] for name in PARAMETERS}
    assert box["retinanet_resnet50_fpn"] == {"type": "l1"}  # torchvision
    assert box["retinanet_resnet50_fpn_paper"] == {"type": "smooth_l1", "beta": 0.11}  # Detectron
    assert box["retinanet_resnet50_fpn_v2"] == box["fcos_resnet50_fpn"] == {"type": "giou"}


def test_normalisers() -> None:
    scope = {name: recipe(name)["loss"]["normaliser"]["scope"] for name in PARAMETERS}
    assert {name for name in scope if scope[name] == "image"} == {"retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"}
    assert scope["fcos_resnet50_fpn"] == scope["retinanet_resnet50_fpn_paper"] == "batch"


def test_low_quality_matches() -> None:
    for name in ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "retinanet_mobilenet_v2"):
        assert recipe(name)["matcher"]["low_quality"] == "always"
    for name in PAPER:
        matcher = recipe(name)["matcher"]
        # Detectron: only with an IoU of 0.4 at least
        assert (matcher["low_quality"], matcher["negative_threshold"]) == ("above_negative", 0.4)


def test_where_p6_comes_from() -> None:
    necks = {name: recipe(name)["neck"] for name in PARAMETERS if name != NANODET}  # which has none
    assert {name for name in necks if necks[name]["extra_from"] == "c5"} == {"retinanet_resnet50_fpn_v2", *PAPER}
    assert {neck["extra"] for neck in necks.values()} == {"p6p7"}


def test_anchors() -> None:
    torch_vision, paper = recipe("retinanet_resnet50_fpn")["head"]["anchors"], recipe(PAPER[0])["head"]["anchors"]
    assert (torch_vision["octave_rounding"], torch_vision["rounding"], torch_vision["stride"]) == (
        "down",
        "int",
        "floor",
    )
    assert (paper["octave_rounding"], paper["rounding"], paper["stride"]) == ("none", "none", "exact")
    assert torch_vision["offset"] == paper["offset"] == 0.0
    assert torch_vision["octave"] == paper["octave"] == 3


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_plus_one(name: str) -> None:
    values = recipe(name)
    assert not values["head"]["box_coder"].get("legacy_plus_one", False)
    assert not values["matcher"].get("legacy_plus_one", False)


def test_normalisation_belongs_to_the_weights() -> None:
    caffe, torch_vision = recipe(PAPER[0]), recipe("retinanet_resnet50_fpn")
    assert (caffe["input"]["channels"], caffe["input"]["pixel_range"], caffe["backbone"]["stride_in"]) == (
        "bgr",
        255,
        "1x1",
    )
    assert (torch_vision["input"]["channels"], torch_vision["backbone"]["stride_in"]) == ("rgb", "3x3")


def test_norms_are_frozen_in_v1_and_live_in_v2() -> None:
    v1, v2 = recipe("retinanet_resnet50_fpn")["backbone"], recipe("retinanet_resnet50_fpn_v2")["backbone"]
    assert (v1["norm"], v1["norm_eps"], v1["freeze"]) == ("frozen", 0.0, ["conv1", "layer1"])
    assert (v2["norm"], v2["norm_eps"], v2["freeze"]) == ("batch", 1e-5, False)
    fcos = recipe("fcos_resnet50_fpn")["backbone"]
    assert (fcos["norm"], fcos["norm_eps"]) == ("frozen", 1e-5)  # torchvision overwrites RetinaNet's alone


def test_outputs_are_category_ids() -> None:
    assert {recipe(name)["classes"] for name in BUILDERS} == {"coco91"}
    detector = build("retinanet_mobilenet_v2", classes=["cell"], weights=None)
    assert detector.head.columns == 1  # type: ignore[union-attr]  # no background among the outputs


def test_detections_kept() -> None:
    kept = {name: recipe(name)["postprocess"]["keep"] for name in PARAMETERS}
    assert kept["retinanet_resnet50_fpn"] == kept["retinanet_resnet50_fpn_v2"] == 300  # COCO's evaluation reads 100
    assert kept["fcos_resnet50_fpn"] == kept["retinanet_resnet50_fpn_paper"] == 100
    threshold = {name: recipe(name)["postprocess"]["score_threshold"] for name in PARAMETERS}
    assert threshold.pop("fcos_resnet50_fpn") == 0.2  # torchvision's, on the square root
    assert max(threshold.values()) == 0.05


def test_convention_fcos_of_torchvision() -> None:
    values = recipe("fcos_resnet50_fpn")
    assert values["head"]["anchors"]["sizes"] == [[8], [16], [32], [64], [128]]
    assert values["head"]["box_coder"] == {"type": "edges", "unit": "size"}
    assert (values["matcher"]["radius"], values["matcher"]["inclusive"]) == (1.5, False)
    assert (values["postprocess"]["quality"], values["postprocess"]["suppress"]["iou"]) == ("geometric_mean", 0.6)


def test_the_schedule_of_v2_is_its_own() -> None:
    v1, v2 = recipe("retinanet_resnet50_fpn")["train"], recipe("retinanet_resnet50_fpn_v2")["train"]
    assert (v1["optimizer"]["name"], v1["optimizer"]["lr"], v1["epochs"]) == ("sgd", 0.01, 26)
    assert (v2["optimizer"]["name"], v2["optimizer"]["lr"], v2["optimizer"]["weight_decay"]) == ("adamw", 1e-4, 0.05)
    paper = recipe(PAPER[0])["train"]
    assert (paper["steps"], paper["batch"], paper["optimizer"]["lr"]) == (90_000, 16, 0.01)
    assert paper["schedule"]["milestones"] == [60_000, 80_000]
