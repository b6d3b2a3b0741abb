"""Grids of overrides: how they are read, and what their points are called."""

from __future__ import annotations

from typing import Any

import pytest

from detzoo.errors import RecipeError
from detzoo.experiments.grid import LONGEST_NAME, grid, split_values

RECIPE: dict[str, Any] = {
    "input": {"size": [300, 300]},
    "backbone": {"type": "vgg16", "levels": ["s8"]},
    "head": {"anchors": {"type": "ssd_priors", "sizes": [[16, 23]]}},
    "train": {"seed": 0, "optimizer": {"name": "sgd", "lr": 0.001}, "schedule": {"name": "step"}},
}


def names(*texts: str) -> list[str]:
    return [point.name for point in grid(texts, RECIPE)]


def overrides(*texts: str) -> list[tuple[str, ...]]:
    return [point.overrides for point in grid(texts, RECIPE)]


def refusal(*texts: str) -> str:
    with pytest.raises(RecipeError) as caught:
        grid(texts, RECIPE)
    return str(caught.value)


def test_no_axis_is_one_run_of_the_recipe_as_it_is() -> None:
    assert [(p.name, p.overrides) for p in grid((), RECIPE)] == [("as-it-is", ())]


def test_every_combination_with_the_last_changing_fastest() -> None:
    assert names("lr=0.001,1e-2", "backbone=resnet18,resnet34") == [
        "lr=0.001,backbone=resnet18",
        "lr=0.001,backbone=resnet34",
        "lr=1e-2,backbone=resnet18",
        "lr=1e-2,backbone=resnet34",
    ]
    assert overrides("lr=0.001,1e-2", "backbone=resnet18,resnet34")[-1] == (
        "train.optimizer.lr=1e-2",
        "backbone.type=resnet34",
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1", ["1"]),
        ("1, 2", ["1", "2"]),
        ("[320, 320],[512,512]", ["[320, 320]", "[512,512]"]),
        ("[[1,2],[3]],[[4]]", ["[[1,2],[3]]", "[[4]]"]),
        ("{type: fpn, levels: [s8, s16]},{type: identity}", ["{type: fpn, levels: [s8, s16]}", "{type: identity}"]),
        ("'a,b',\"c,]\"", ["'a,b'", '"c,]"']),
        ("it's,its", ["it's", "its"]),
        ("null,true", ["null", "true"]),
    ],
)
def test_commas_within_brackets_and_quotes_belong_to_a_value(text: str, parts: list[str]) -> None:
    assert split_values(text, "k") == parts


def test_points_that_would_share_a_folder_are_told_apart() -> None:
    same = names("backbone.weights=a/b.pth,a_b.pth,c.pth", "train.seed=0")
    assert len(set(same)) == 3
    assert [name[:27] for name in same[:2]] == ["backbone.weights=a_b.pth,tr"] * 2
    assert same[2] == "backbone.weights=c.pth,train.seed=0"
    assert len(set(names('backbone.weights=1,"1"'))) == 2


def test_truth_is_no_number_and_is_not_given_twice() -> None:
    assert len(names("backbone.frozen=1,true,0,false")) == 4
    assert "true is given twice" in refusal("backbone.frozen=true,false,true")


def test_names_are_fit_for_folders() -> None:
    assert names("input.size=[320,320],[512,512]") == ["input.size=320x320", "input.size=512x512"]
    assert names("train.seed=0", "backbone={type: resnet18}") == ["train.seed=0,backbone=resnet18"]
    nested = names("head.anchors.sizes=[[8]],[[9]]")
    assert all(name.startswith("head.anchors.sizes=list~") for name in nested)
    assert len(set(nested)) == 2
    assert names("backbone={type: a, levels: [s8]}", "backbone.weights=w/x y.pth")[0].endswith("weights=w_x_y.pth")
    long = names("backbone=" + "x" * 300 + "," + "x" * 300 + "y")
    assert [len(name) for name in long] == [LONGEST_NAME] * 2
    assert len(set(long)) == 2


def test_components_are_named_by_a_word_or_written_out() -> None:
    assert overrides("backbone=resnet18") == [("backbone.type=resnet18",)]
    assert overrides("backbone.type=resnet18") == [("backbone.type=resnet18",)]
    assert overrides("backbone={type: resnet18, levels: [s8, s16]}") == [
        ("backbone={type: resnet18, levels: [s8, s16]}",)
    ]
    assert overrides("head.anchors=grid") == [("head.anchors.type=grid",)]


def test_unknown_keys_are_left_for_the_recipe_to_refuse() -> None:
    assert overrides("learning=1") == [("learning=1",)]


def test_refusals() -> None:
    assert refusal("lr") == "--set lr: expected key=value,value,... for example --set lr=0.001,0.01"
    assert refusal("=1") == "--set =1: expected key=value,value,... for example --set lr=0.001,0.01"
    empty = 'is empty; write null for none, or "" for an empty text'
    assert refusal("lr=") == f"--set lr=: value 1 of 1 {empty}"
    assert refusal("lr=1,,2") == f"--set lr=1,,2: value 2 of 3 {empty}"
    assert refusal("lr=[1,2") == "--set lr=[1,2: ']' is missing at the end"
    assert refusal("lr='a,b") == "--set lr='a,b: \"'\" is missing at the end"
    assert refusal("lr=1e-2,0.01") == "--set lr=1e-2,0.01: 0.01 is given twice; each value makes one run"
    assert refusal("lr=1", "train.optimizer.lr=2") == (
        "--set lr: given more than once; put all of its values into one: --set lr=a,b"
    )
    assert refusal("name=adamw") == (
        "--set name: this recipe has 2 keys that end so: train.optimizer.name, train.schedule.name; write one of them "
        "in full"
    )
