"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.testing import Check, Component, parametrize_with_checks

EXAMPLES: dict[str, dict[str, Any]] = {
    "backbone yolo/darknet": {
        "layers": ["conv 8 3/2", "conv 16 3/2", "max 2/2 -> s8", "conv 16 3/2", "max 2/1", "route -2 -1 -> s16"]
    },
    "neck yolo/darknet": {
        "layers": ["conv 16 1", "conv 16 3 -> p32", "route -2", "up 2", "route -1 s16", "conv 8 3 -> p16"]
    },
    "neck yolo/passthrough": {"channels": 16, "depth": 1, "squeeze": 4},
}
SMALL = ("yolo_fastest_coco", "yolov1_mobilenet_v2", "yolov3_mobilenet_v2")
LARGE = (
    "yolo_fastest_xl_coco",
    "yolov1_darknet_voc",
    "yolov1_tiny_voc",
    "yolov1_voc",
    "yolov2_tiny_voc",
    "yolov2_voc",
    "yolov3_coco",
    "yolov3_tiny_coco",
)


@parametrize_with_checks("yolo", examples=EXAMPLES, recipes=SMALL)
def test_conformance(component: Component, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks("yolo", groups=("detector",), recipes=LARGE)
def test_conformance_of_the_large_recipes(component: Component, check: Check) -> None:
    check(component)
