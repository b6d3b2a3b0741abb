"""A mistyped override names what was meant: the key further down, the component, the spelling of a size."""

from __future__ import annotations

import pytest

from detzoo.errors import RecipeError
from detzoo.recipes.recipe import load_recipe


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("train.lr=0.1", "train.optimizer.lr"),
        ("matcher=simotta", '"simota"'),
        ("matcher=max_iou", "{type: max_iou}"),
        ("input.size=640", "[height, width]"),
        ("input.size=640x480", "[height, width]"),
        ("input.size=[480]", "[height, width]"),
    ],
)
def test_what_was_meant(override: str, hint: str) -> None:
    pytest.importorskip("detzoo_ssd")
    with pytest.raises(RecipeError) as error:
        load_recipe("ssd300_vgg16_voc", [override])
    assert hint in str(error.value)


def test_what_is_written_right_gets_no_hint() -> None:
    pytest.importorskip("detzoo_ssd")
    with pytest.raises(RecipeError) as error:
        load_recipe("ssd300_vgg16_voc", ["weights=null"])
    assert "further down" not in str(error.value)
