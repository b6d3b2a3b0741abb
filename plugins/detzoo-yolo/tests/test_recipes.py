"""The recipes: all of them build, and say what the sources say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from detzoo.builder import build
from detzoo.recipes.recipe import load_recipe
from detzoo.training.schedule import rates
from detzoo_yolo.converters import ordered

PARAMETERS = {
    "yolo_fastest_coco": 332_798,
    "yolo_fastest_xl_coco": 898_686,
    "yolov1_darknet_voc": 197_301_875,
    "yolov1_mobilenet_v2": 5_543_710,
    "yolov1_tiny_voc": 45_089_374,
    "yolov1_voc": 271_703_550,
    "yolov2_tiny_voc": 15_861_773,
    "yolov2_voc": 50_655_389,
    "yolov3_coco": 61_949_149,
    "yolov3_mobilenet_v2": 4_478_718,
    "yolov3_tiny_coco": 8_852_366,
}
FILE_BYTES = {
    "yolo_fastest_coco": (1_384_268, 20),
    "yolo_fastest_xl_coco": (3_693_964, 20),
    "yolov1_darknet_voc": (789_312_988, 16),
    "yolov2_tiny_voc": (63_471_556, 16),
    "yolov2_voc": (202_704_260, 16),
    "yolov3_coco": (248_007_048, 20),
    "yolov3_tiny_coco": (35_434_956, 20),
}
"""Sizes of the released ``.weights`` files, and of their headers."""


def recipe(name: str) -> dict[str, Any]:
    return load_recipe(name).values


def on_meta(name: str) -> Any:
    with torch.device("meta"):
        return build(name, weights=None)


def test_this_table_names_every_recipe_of_the_plugin() -> None:
    from detzoo.plugins.registry import get_registry

    manifest = get_registry().plugins.records["yolo"].manifest
    assert manifest is not None
    assert sorted(manifest.detectors) == sorted(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_recipe_builds(name: str) -> None:
    detector = on_meta(name)
    count = sum(parameter.numel() for parameter in detector.parameters())
    assert count == PARAMETERS[name]
    assert recipe(name)["summary"]
    assert recipe(name)["profile"] in {"paper", "port", "modern"}


@pytest.mark.parametrize("name", FILE_BYTES)
def test_the_released_weights_have_as_many_numbers(name: str) -> None:
    size, header = FILE_BYTES[name]
    layers = list(ordered(on_meta(name)))
    numbers = [
        value.numel() for layer in layers for key, value in layer.state_dict().items() if "num_batches" not in key
    ]
    assert header + 4 * sum(numbers) == size


@pytest.mark.parametrize(
    ("name", "outputs", "boxes", "convolutions", "connected", "norms"),
    [
        ("yolov1_voc", 1470, 2, 24, 2, False),
        ("yolov1_tiny_voc", 1470, 2, 9, 3, False),
        ("yolov1_darknet_voc", 1715, 3, 24, 1, True),
    ],
)
def test_paper_and_released_cfg_are_two_networks(
    name: str, outputs: int, boxes: int, convolutions: int, connected: int, norms: bool
) -> None:
    detector = on_meta(name)
    kinds = [type(module).__name__ for module in detector.modules()]
    assert detector.head.predictor.out_features == outputs
    assert detector.head.per_cell == boxes
    assert kinds.count("Conv2d") == convolutions
    assert kinds.count("Linear") == connected
    assert ("BatchNorm2d" in kinds) == norms
    assert ("Local" in kinds) == norms


def test_a_variant_says_that_it_is_one() -> None:
    assert recipe("yolov1_mobilenet_v2")["summary"].startswith("a variant of YOLOv1, not the paper's")
    assert recipe("yolov1_mobilenet_v2")["reported"] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_thresholds_of_evaluation(name: str) -> None:
    postprocess = recipe(name)["postprocess"]
    assert 0.001 <= postprocess["score_threshold"] <= 0.005
    assert postprocess["quality"] == "product"
    assert postprocess["suppress"]["iou"] in (0.45, 0.5)


@pytest.mark.parametrize("name", ["yolov2_voc", "yolov3_coco"])
def test_resizing(name: str) -> None:
    given = recipe(name)["input"]
    assert (given["resize"], given["fill"], given["sampling"]) == ("letterbox", 0.5, "corners")


def test_no_background_among_the_outputs() -> None:
    head = on_meta("yolov3_coco").head
    assert {predictor.out_channels for predictor in head.predictors.values()} == {3 * (5 + 80)}


def test_errors_of_the_places() -> None:
    for name in ("yolov2_voc", "yolov3_coco"):
        loss = recipe(name)["loss"]
        assert (loss["place_error"], loss["small_boxes"], loss["box"]) == ("cross_entropy", True, None)


def test_plans_of_the_papers() -> None:
    v1, v2, v3 = (build_plan(name) for name in ("yolov1_voc", "yolov2_voc", "yolov3_coco"))
    assert (v1.epochs, v1.batch, v1.optimizer.lr, v1.schedule.milestones) == (135, 64, 1e-2, (75, 105))
    ramp = rates(v1, steps_per_epoch=258, total=258 * 135)
    assert [ramp.factor(0), ramp.factor(1000)] == pytest.approx([0.1, 1.0])  # 1e-3 to 1e-2
    assert [ramp.factor(258 * epoch) for epoch in (80, 120)] == pytest.approx([0.1, 0.01])
    burn = rates(v2, steps_per_epoch=258, total=80_200)
    assert [burn.factor(0), burn.factor(500), burn.factor(1000)] == pytest.approx([0, 0.5**4, 1])
    assert [burn.factor(t) for t in (39_999, 40_001, 60_001)] == pytest.approx([1, 0.1, 0.01])
    assert (v3.steps, v3.schedule.milestones) == (500_200, (400_000, 450_000))
    assert v2.multi_scale is not None
    assert (v2.multi_scale.shortest, v2.multi_scale.longest, v2.multi_scale.every) == (320, 608, 10)
    tiny = rates(build_plan("yolov1_tiny_voc"), steps_per_epoch=258, total=40_000)
    assert [tiny.factor(t) for t in (0, 20, 40, 60, 80, 20_000)] == pytest.approx([1, 5, 25, 50, 100, 10])


def build_plan(name: str) -> Any:
    return on_meta(name).train_plan


def test_reported_numbers_are_the_papers() -> None:
    found = {name: [(r["metric"], r["value"]) for r in recipe(name)["reported"]] for name in PARAMETERS}
    assert found["yolov1_voc"] == [("VOC07 AP50", 63.4), ("VOC10 AP50", 57.9)]
    assert found["yolov1_tiny_voc"] == [("VOC07 AP50", 52.7)]
    assert found["yolov2_voc"] == [("VOC07 AP50", 76.8)]
    assert found["yolov3_coco"] == [("AP", 31.0)]
    assert found["yolo_fastest_coco"] == [("AP50", 24.4)]
