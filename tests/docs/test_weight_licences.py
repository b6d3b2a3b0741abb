"""The page of licences says what the manifests say, of every published file."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("weight_licences")


def test_the_page_is_what_the_script_writes(script: ModuleType) -> None:
    assert (ROOT / "docs" / "weights.md").read_text(encoding="utf-8") == script.page(), (
        "docs/weights.md is out of date: run `python benchmarks/weight_licences.py`"
    )


def test_every_published_file_is_in_it_once(script: ModuleType) -> None:
    published = [
        (recipe, weights["name"])
        for recipe in get_registry().detectors()
        for weights in load_recipe(recipe).values.get("weights") or []
    ]
    assert len(published) > 30
    assert [(one.recipe, one.name) for one in script.entries()] == published
    text = script.page()
    for recipe, name in published:
        assert text.count(f"| `{recipe}` | {name} |") == 1


def test_parts_of_an_entry(script: ModuleType) -> None:
    said = "Apache-2.0 (Somebody, Net); trained on COCO, whose photographs are others'"
    found = script.entry_of("net", {"name": "coco", "licence": said})
    assert (found.licence, found.publisher) == ("Apache-2.0", "Somebody, Net")
    assert found.data == "COCO, whose photographs are others'"


@pytest.mark.parametrize("said", ["AGPL-3.0 (Somebody); trained on COCO", "Apache-2.0", "free"])
def test_terms_that_nobody_wrote_down_are_rejected(script: ModuleType, said: str) -> None:
    with pytest.raises(ValueError, match=r"net: weights .*one of: Apache-2\.0"):
        script.entry_of("net", {"name": "coco", "licence": said})
