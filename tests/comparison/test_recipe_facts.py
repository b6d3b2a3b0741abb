"""A recipe in few words."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.comparison.recipe_facts import Facts, architecture, innermost, input_size, recipe_facts
from detzoo.recipes.recipe import load_recipe


def test_nothing_known() -> None:
    assert recipe_facts({}) == Facts(gives="boxes")
    assert input_size(None) == input_size({}) == (None, None)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"architecture": "one_stage", "head": {"type": "ssd"}}, "ssd"),
        (
            {"architecture": "two_stage", "proposals": {"type": "rpn"}, "box": {"head": {"type": "roi_box"}}},
            "rpn + roi_box",
        ),
        (
            {"architecture": "two_stage", "proposals": {"type": "rpn"}, "box": [{"head": {"type": "roi_box"}}] * 3},
            "rpn + 3 x roi_box",
        ),
        ({"architecture": "region_svm", "proposals": {"type": "image_level"}, "head": {"type": "fc"}}, "region_svm"),
        ({"architecture": "one_stage"}, "one_stage"),
    ],
)
def test_architecture(values: dict[str, Any], name: str) -> None:
    assert architecture(values) == name


def test_what_wraps_a_backbone_steps_back() -> None:
    assert innermost({"type": "image_pyramid", "backbone": {"type": "vgg16"}}) == "vgg16"
    assert innermost({"type": "vgg16"}) == "vgg16"


def test_input_sizes() -> None:
    assert input_size({"size": [300, 1200]}) == ("300x1200", 600.0)  # 600 squared is that area
    assert input_size({"size": None, "min_size": 600, "max_size": 1000}) == ("600..1000", 600.0)
    assert input_size({"size": None, "min_size": 600, "max_size": None}) == ("600", 600.0)


def test_a_real_recipe() -> None:
    values = load_recipe("ssd_mobilenet_v2_fpn").values
    facts = recipe_facts(values)
    assert (facts.architecture, facts.backbone, facts.gives) == ("ssd", "mobilenet_v2", "boxes")
    assert facts.size == "x".join(map(str, values["input"]["size"]))
