"""What heads whose weights all maps share ask of their maps and anchors."""

from __future__ import annotations

import pytest

from detzoo.components.anchors import Grid
from detzoo.components.dense import shared_per_cell, shared_width
from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec

TWO = {"s8": FeatureSpec(4, 8.0), "s16": FeatureSpec(6, 16.0)}


def test_maps_of_one_width() -> None:
    assert shared_width(TWO, ("s16",), head="mine", levels="levels") == 6
    with pytest.raises(RecipeError) as error:
        shared_width(TWO, ("s8", "s16"), head="mine", levels="levels")
    assert str(error.value) == (
        "head mine: its weights are shared by all maps, which need one number of channels; found: s8 (4), s16 (6). "
        "Choose one with levels, or a neck such as {type: fpn}."
    )


def test_anchors_of_one_number() -> None:
    names = ("s8", "s16")
    assert shared_per_cell(Grid(sizes=[[8.0], [16.0]]), names, head="mine", levels="levels") == 3
    with pytest.raises(RecipeError) as error:
        shared_per_cell(Grid(sizes=[[8.0]]), names, head="mine", levels="levels")
    assert str(error.value) == (
        "head mine: anchors are given for 1 levels, but it is slid over 2 maps: s8, s16. "
        "Write one list of sizes for each map, set levels, or choose a neck that gives 1."
    )
    with pytest.raises(RecipeError) as error:
        shared_per_cell(Grid(sizes=[[8.0, 9.0], [16.0]]), names, head="mine", levels="levels")
    assert str(error.value) == (
        "head mine: its weights are shared by all maps, so every cell needs the same number of anchors; "
        "found 6, 3. Give each level equally many sizes."
    )
