"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

import pytest

from detzoo.testing import Check, Component, parametrize_with_checks

SMALL = ("detr_anchors_mobilenet_v2", "detr_mobilenet_v2")
LARGE = ("detr_resnet50_coco",)


@parametrize_with_checks("detr", recipes=SMALL)
def test_conformance(component: Component, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks("detr", groups=("detector",), recipes=LARGE)
def test_conformance_of_the_large_recipe(component: Component, check: Check) -> None:
    check(component)
