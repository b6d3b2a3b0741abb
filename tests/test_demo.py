"""The demo, with a handful of images and one step of training."""

from pathlib import Path

import pytest

from detzoo.comparison import demo
from detzoo.comparison.demo import closing_words, demonstrate
from detzoo.errors import DetzooError
from detzoo.recipes.recipe import load_recipe


def test_the_demo_compares_what_it_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DATA", "shapes:size=64,train=16,test=4")
    monkeypatch.setattr(demo, "_ITERATIONS", 2)
    monkeypatch.setattr(demo, "_LARGEST_BATCH", 1)
    said: list[str] = []
    out = tmp_path / "demo"
    done = demonstrate(out, steps=1, device="cpu", progress=False, say=said.append)
    assert [entry.name for entry in done.comparison.entries] == list(demo.DETECTORS)
    assert done.comparison.failures == {}
    assert said[:3] == [
        "[1/3] ssd_resnet18_fpn: training on generated images",
        "[2/3] ssd_resnet18: training on generated images",
        "[3/3] evaluating, timing and comparing",
    ]
    words = closing_words(done)
    assert f"{out / 'report'}" in words
    assert f"detzoo predict {out / 'runs' / 'ssd_resnet18_fpn'} IMAGE --out found" in words
    for path in done.comparison.files:
        assert path.is_file()
    said.clear()
    again = demonstrate(out, steps=1, device="cpu", progress=False, say=said.append)
    assert again.comparison.table.terminal(200) == done.comparison.table.terminal(200)


def test_the_two_recipes_differ_in_their_neck_alone() -> None:
    first, second = (load_recipe(f"{demo.RECIPES}#{name}").values for name in demo.DETECTORS)
    assert {key for key in first if first[key] != second[key]} - {"summary", "extends"} == {"neck"}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DetzooError) as caught:
        demonstrate(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} is not empty and no demo of detzoo (no demo.json in it); choose another --out"
    )
    with pytest.raises(DetzooError, match=r"thesis\.tex is a file; --out takes a folder$"):
        demonstrate(tmp_path / "thesis.tex")
