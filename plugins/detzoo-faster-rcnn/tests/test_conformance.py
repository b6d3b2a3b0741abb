"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.registry import get_registry
from detzoo.testing import Check, Component, parametrize_with_checks

EXAMPLES: dict[str, dict[str, Any]] = {
    # its recipes are ResNet-101's
    "head faster_rcnn/roi_box_res5": {
        "roi_pool": {"type": "roi_align", "output": [3, 3], "levels": ["s16"]},
        "box_coder": {"type": "centre_size"},
    },
    # its recipes are TensorFlow's, of 600 px and more
    "head faster_rcnn/roi_box_tail": {
        "roi_pool": {"type": "roi_align", "output": [3, 3], "levels": ["s16"]},
        "box_coder": {"type": "centre_size"},
        "network": "nasnet",
    },
}
SMALL = ("fasterrcnn_mobilenet_v2_fpn", "fastrcnn_mobilenet_v2", "maskrcnn_mobilenet_v2_fpn")


def large() -> list[str]:
    """Every other recipe: minutes each on a CPU.

    But TensorFlow's largest, which take tens of gigabytes to train on three pictures of their size:
    test_tensorflow_recipes.py trains and runs them on small ones.
    """
    manifest = get_registry().plugins.records["faster_rcnn"].manifest
    assert manifest is not None
    return sorted(
        name for name in manifest.detectors.keys() - set(SMALL) if "_atrous_" not in name and "_nas_" not in name
    )


@parametrize_with_checks("faster_rcnn", examples=EXAMPLES, recipes=SMALL)
def test_conformance(component: Component, check: Check) -> None:
    if "roi_box_tail" in component.id:
        pytest.importorskip("timm")
    check(component)


@pytest.mark.slow
@parametrize_with_checks("faster_rcnn", groups=("detector",), recipes=large())
def test_conformance_of_the_large_recipes(component: Component, check: Check) -> None:
    check(component)
