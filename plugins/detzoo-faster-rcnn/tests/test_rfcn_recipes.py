"""R-FCN's recipes: they say what the sources say, build, train a step and predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detzoo.builder import build
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import RecipeError
from detzoo.recipes.recipe import load_recipe
from detzoo.testing.specimens import image_batch, targets
from detzoo_faster_rcnn.rfcn_head import RfcnHead

RESNET_50 = 25_557_032 - 2_049_000 - 53_120  # torchvision's, without fc and the frozen norms' weights and biases
RESNET_101 = 44_549_160 - 2_049_000 - 105_344
RPN = (1024 * 9 + 1) * 512 + 513 * 9 * (2 + 4)  # 3x3 to 512, then nine anchors' two logits and four deltas
RFCN = 2049 * 1024 + 1025 * 49 * (21 + 4)
PARAMETERS = {"rfcn_resnet50_voc": RESNET_50 + RPN + RFCN, "rfcn_resnet101_voc": RESNET_101 + RPN + RFCN}
SMALL = ["input.size=[64,96]"]


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def built(name: str = "rfcn_mobilenet_v2", overrides: list[str] | None = None, **config: Any) -> TwoStage:
    detector = build(name, weights=None, overrides=SMALL if overrides is None else overrides, **config)
    assert isinstance(detector, TwoStage)
    return detector


@pytest.mark.parametrize("name", PARAMETERS)
def test_paper_recipes_build(name: str) -> None:
    detector = built(name, [])
    assert sum(parameter.numel() for parameter in detector.parameters()) == PARAMETERS[name]
    frozen = {name.split(".")[2] for name, p in detector.backbone.named_parameters(prefix="b") if not p.requires_grad}
    assert frozen == {"conv1", "layer1"}  # "finetuned from res3a"
    assert {level: spec.stride for level, spec in detector.backbone.out.items()} == {"s16": 16, "s16_dilated": 16}
    assert detector.get_submodule("backbone.body.layer4.2.conv2").dilation == (2, 2)
    head = detector.box.head
    assert isinstance(head, RfcnHead)
    assert (head.levels, head.columns, head.boxes) == (("s16_dilated",), 21, 1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_as_released(name: str) -> None:
    box = recipe(name)["box"]
    assert box["sampler"] == {"type": "all"}
    assert box["loss"]["miner"] == {"type": "ohem", "size": 128}
    assert box["loss"]["normaliser"]["type"] == "sampled"
    assert box["loss"]["box_normaliser"] == {"type": "fixed", "value": 256.0, "scope": "batch"}
    assert box["loss"]["box"] == {"type": "smooth_l1", "beta": 1.0}
    assert box["head"]["class_agnostic"] is True
    assert box["head"]["channels"] == 1024
    assert box["head"]["init_std"] == 0.01
    assert (box["matcher"]["positive_threshold"], box["matcher"]["negative_threshold"]) == (0.5, 0.5)


@pytest.mark.parametrize("name", PARAMETERS)
def test_pooling_as_released(name: str) -> None:
    pool = recipe(name)["box"]["head"]["roi_pool"]
    assert (pool["type"], pool["output"], pool["rounding"]) == ("ps_roi_pool", [7, 7], "before")


@pytest.mark.parametrize("name", PARAMETERS)
def test_300_regions_in_training_and_test(name: str) -> None:
    proposals = recipe(name)["proposals"]
    assert proposals["training_postprocess"] is None
    assert (proposals["postprocess"]["per_level_top_k"], proposals["postprocess"]["keep"]) == (6000, 300)
    assert proposals["postprocess"]["suppress"]["iou"] == 0.7
    assert proposals["head"]["levels"] == ["s16"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_training_and_test_as_released(name: str) -> None:
    values = recipe(name)
    size = {key: values["input"][key] for key in ("resize", "min_size", "max_size", "channels", "mean")}
    assert size["mean"] == [102.9801, 115.9465, 122.7717]
    assert (size["resize"], size["min_size"], size["max_size"], size["channels"]) == ("shortest", 600, 1000, "bgr")
    train = values["train"]
    assert (train["steps"], train["batch"], train["accumulate"]) == (110_000, 2, 1)
    assert (train["schedule"]["milestones"], train["schedule"]["gamma"]) == ([80_000], 0.1)
    optimizer = train["optimizer"]
    assert (optimizer["lr"], optimizer["momentum"], optimizer["weight_decay"]) == (1e-3, 0.9, 5e-4)
    assert optimizer["bias_lr_multiplier"] == 2.0  # lr_mult of rfcn_cls, rfcn_bbox and the RPN
    assert values["backbone"]["stride_in"] == "1x1"
    assert values["backbone"]["norm"] == "frozen"
    assert values["box"]["postprocess"]["suppress"]["iou"] == 0.3


def test_reported() -> None:
    found = {name: [row["value"] for row in recipe(name)["reported"]] for name in PARAMETERS}
    assert found == {"rfcn_resnet50_voc": [77.4, 76.9], "rfcn_resnet101_voc": [79.5, 78.7, 77.6]}


def test_what_differs_from_faster_rcnn_on_small_machines() -> None:
    ours, theirs = recipe("rfcn_mobilenet_v2"), recipe("fasterrcnn_mobilenet_v2_fpn")
    parts = ("input", "backbone", "neck", "proposals", "train")
    assert {part: ours[part] for part in parts} == {part: theirs[part] for part in parts}
    differing = [slot for slot, value in ours["box"].items() if value != theirs["box"][slot]]
    assert sorted(differing) == ["head", "loss", "sampler"]


@pytest.mark.parametrize("kind", ["{type: ps_roi_pool}", "{type: ps_roi_align}"])
def test_a_step_on_images_with_and_without_objects(kind: str) -> None:
    detector = built(overrides=[*SMALL, f"box.head.roi_pool={kind}", "box.head.roi_pool.levels=[s8,s16]"])
    batch = image_batch((64, 96), 3)
    for names in (("mixed boxes", "no box", "one box"), ("no box",) * 3):
        terms = detector.train().losses(batch, targets(names))
        assert sorted(terms) == ["box.box", "box.classification", "rpn.box", "rpn.classification"]
        assert all(term.isfinite() for term in terms.values())
        sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.box.head.parameters())


def test_without_regions_and_objects_there_is_nothing_to_learn_in_the_box_head() -> None:
    detector = built(overrides=[*SMALL, "proposals.training_postprocess.score_threshold=1.0"])
    terms = detector.train().losses(image_batch((64, 96), 2), targets(("no box", "no box")))
    assert terms["box.box"].item() == terms["box.classification"].item() == 0
    assert terms["box.box"].requires_grad


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 4000), (1, 1)])
def test_images_of_any_size(height: int, width: int) -> None:
    detector = built(num_classes=3).eval()
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    (found,) = detector.predict([image], score_threshold=0.0, channels="rgb")
    assert len(found) > 0
    assert found.scores.isfinite().all()
    assert (found.boxes[:, 2] <= width).all()


def test_dilated_resnet_trains_and_predicts() -> None:
    detector = built("rfcn_resnet50_voc", ["input.min_size=64", "input.max_size=128"])
    terms = detector.train().losses(image_batch((64, 96), 1), targets(("one box",)))
    sum(terms.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert all(term.isfinite() for term in terms.values())
    learnt = {name.split(".")[2] for name, p in detector.backbone.named_parameters(prefix="b") if p.grad is not None}
    assert learnt == {"layer2", "layer3", "layer4"}
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    (found,) = detector.eval().predict([image], score_threshold=0.0, channels="rgb")
    assert found.scores.isfinite().all()


def test_pooling_for_features_is_refused_with_its_place() -> None:
    with pytest.raises(RecipeError) as error:
        built(overrides=["box.head.roi_pool={type: roi_align, levels: [s8]}"])
    assert "rfcn_mobilenet_v2.box.head" in str(error.value)
    assert str(error.value).endswith(
        "head rfcn: its score maps need position-sensitive pooling, RoiAlign reads every channel in every bin. "
        "Use roi_pool: {type: ps_roi_pool} or {type: ps_roi_align}, or head roi_box."
    )
