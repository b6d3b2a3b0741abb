"""TensorFlow's model zoo: the recipes say what its configurations say, build and predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detzoo.builder import build
from detzoo.recipes.recipe import load_recipe
from detzoo.testing.specimens import image_batch, targets

REPORTED = {
    "fasterrcnn_inception_resnet_v2_atrous_coco": 37,
    "fasterrcnn_inception_v2_coco": 28,
    "fasterrcnn_nas_coco": 43,
    "fasterrcnn_resnet101_coco": 32,
    "fasterrcnn_resnet50_coco": 30,
    "maskrcnn_inception_resnet_v2_atrous_coco": 36,
    "maskrcnn_inception_v2_coco": 25,
    "maskrcnn_resnet101_atrous_coco": 33,
    "maskrcnn_resnet50_atrous_coco": 29,
    "rfcn_resnet101_coco": 30,
}
LOW = ("fasterrcnn_resnet50", "fasterrcnn_resnet101", "fasterrcnn_inception_resnet_v2_atrous", "fasterrcnn_nas")
QUICK = ("fasterrcnn_inception_v2_coco",)


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


@pytest.mark.parametrize("name", REPORTED)
def test_first_and_second_stage_are_those_of_the_configurations(name: str) -> None:
    values = recipe(name)
    rpn, box = values["proposals"], values["box"]
    assert rpn["head"]["anchors"]["sizes"] == [[256 * scale for scale in (0.25, 0.5, 1.0, 2.0)]]
    assert rpn["head"]["anchors"]["ratios"] == [0.5, 1.0, 2.0]
    assert (rpn["head"]["channels"], rpn["head"]["scoring"]) == (512, "softmax")
    assert (rpn["sampler"]["size"], rpn["loss"]["box_weight"], box["loss"]["box_weight"]) == (256, 2.0, 2.0)
    assert rpn["training_postprocess"] is None
    nas = "nas" in name
    assert (rpn["postprocess"]["keep"], box["sampler"]["size"]) == ((50, 49) if nas else (300, 64))
    assert box["postprocess"]["suppress"]["iou"] == 0.6
    assert box["postprocess"]["keep"] == (100 if nas or "inception_resnet" in name else 300)
    assert values["train"]["optimizer"]["lr"] == (2e-4 if "inception_v2" in name else 3e-4)
    assert values["train"]["clip_norm"] == 10.0
    assert (values["profile"], values["weights"]) == ("modern", [])
    size = values["input"]
    expected = (None, None) if nas else (800, 1365) if name.startswith("mask") else (600, 1024)
    assert (size["min_size"], size["max_size"]) == expected


@pytest.mark.parametrize("name", REPORTED)
def test_reported_is_tensorflows_rounded_ap(name: str) -> None:
    (row,) = recipe(name)["reported"]
    assert (row["metric"], row["value"], row["dataset"]) == ("AP", REPORTED[name], "COCO 2014 minival")


@pytest.mark.parametrize("name", LOW)
def test_low_proposals_differ_in_their_number_alone(name: str) -> None:
    few, many = recipe(f"{name}_coco_lowproposals"), recipe(f"{name}_coco")
    assert few["proposals"]["postprocess"]["keep"] == 20
    few["proposals"]["postprocess"]["keep"] = many["proposals"]["postprocess"]["keep"]
    same = ("backbone", "neck", "proposals", "box", "input", "train")
    assert {key: few[key] for key in same} == {key: many[key] for key in same}
    assert few["reported"] == []


@pytest.mark.parametrize("name", [name for name in REPORTED if "atrous" in name])
def test_atrous_is_a_map_of_stride_8(name: str) -> None:
    values = recipe(name)
    assert values["backbone"]["levels"] == ["s8_dilated"]
    pools = [values["box"]["head"]["roi_pool"]]
    pools += [values["mask"]["head"]["roi_pool"]] if values["mask"] else []
    assert {tuple(pool["levels"]) for pool in pools} == {("s8_dilated",)}


def test_r_fcn_pools_three_bins_of_six_samples_for_every_class() -> None:
    head = recipe("rfcn_resnet101_coco")["box"]["head"]
    assert (head["roi_pool"]["output"], head["roi_pool"]["sampling_ratio"]) == ([3, 3], 6)  # crop 18, bins 3
    assert head["class_agnostic"] is False


@pytest.mark.filterwarnings("ignore::DeprecationWarning:timm")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in sorted(REPORTED)]
)
def test_they_build_train_a_step_and_predict(name: str) -> None:
    if "resnet_v2" in name or "nas" in name:
        pytest.importorskip("timm")
    size = ["input.size=[96,128]"] if "nas" in name else ["input.min_size=64", "input.max_size=128"]
    detector = build(name, num_classes=3, weights=None, overrides=size)
    if not name.startswith("mask"):  # those are given no masks here
        terms = detector.train().losses(image_batch((96, 128), 1), targets(("one box",)))
        assert sorted(terms) == ["box.box", "box.classification", "rpn.box", "rpn.classification"]
        sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None for name, p in detector.named_parameters() if p.requires_grad)
    rpn = detector.eval().get_submodule("proposals.head")
    for layer in ("classification", "regression"):  # norms without statistics let deep networks send all anchors astray
        torch.nn.init.zeros_(rpn.get_parameter(f"{layer}.weight"))
    image = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)
    (found,) = detector.predict([image], score_threshold=0.0, channels="rgb")
    assert len(found) > 0
    assert found.scores.isfinite().all()
    assert (found.masks is not None) == name.startswith("mask")
