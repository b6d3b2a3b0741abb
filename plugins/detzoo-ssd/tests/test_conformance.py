"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.testing import Check, Component, parametrize_with_checks

CODER = {"type": "centre_size", "variances": [0.1, 0.1, 0.2, 0.2]}
EXAMPLES: dict[str, dict[str, Any]] = {
    "head ssd/ssd_shared": {
        "anchors": {"type": "ssd_priors", "sizes": [[20.0], [40.0], [80.0]], "max_sizes": None, "ratios": [[2.0]] * 3},
        "box_coder": CODER,
    },
    "loss ssd/softmax_focal": {"box": {"type": "smooth_l1"}, "normaliser": {"type": "positives"}},
}
SMALL = ("ssd_mobilenet_v2_fpn", "ssdlite320_mobilenet_v3_large", "ssd_ultralight_face_rfb")
LARGE = (
    "ssd300_vgg16",
    "ssd300_vgg16_coco",
    "ssd300_vgg16_tutorial",
    "ssd300_vgg16_voc",
    "ssd512_vgg16_coco",
    "ssd512_vgg16_voc",
    "ssd_inception_v2",
    "ssd_mobilenet_v1",
    "ssd_mobilenet_v1_075",
    "ssd_mobilenet_v1_fpn",
    "ssd_mobilenet_v2",
    "ssd_resnet50_v1_fpn",
    "ssd_ultralight_face_slim",
    "ssdlite300_mobilenet_v2",
    "ssdlite320_mobilenet_v3_small",
    "ssdlite_mobilenet_v2",
)


@parametrize_with_checks("ssd", examples=EXAMPLES, recipes=SMALL)
def test_conformance(component: Component, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks("ssd", groups=("detector",), recipes=LARGE)
def test_conformance_of_the_large_recipes(component: Component, check: Check) -> None:
    check(component)
