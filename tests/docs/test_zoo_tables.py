"""The model-zoo tables: every row names a recipe, repeats what the recipe reports, and the pages are up to date."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

from detzoo.recipes.recipe import load_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("zoo_rows")


def test_tensorflows_rows_have_a_recipe_with_its_ap_or_a_reason(rows: ModuleType) -> None:
    table = (*rows.TENSORFLOW, *rows.TENSORFLOW_MOBILE)
    assert len(table) == 29
    for row in table:
        assert (row.recipe is None) == bool(row.why_not), row.name
        if row.recipe is None or row.recipe == "ssdlite320_mobilenet_v3_large":  # that one reports torchvision's
            continue
        reported = load_recipe(row.recipe).values["reported"]
        assert [entry["value"] for entry in reported] == ([] if row.ap is None else [row.ap]), row.name
        assert all(row.name in entry["source"] for entry in reported)


def test_rows_of_voc_report_their_ap(rows: ModuleType) -> None:
    for row in rows.VOC:
        metrics = {entry["metric"] for entry in load_recipe(row.recipe).values["reported"]}
        assert "VOC07 AP50" in metrics, row.recipe
        assert bool(row.speed) == bool(row.source)


def test_the_pages_are_what_the_script_writes(rows: ModuleType) -> None:
    folder = ROOT / "docs" / "zoo"
    measured = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    assert measured.keys() <= rows.IMAGES.keys()
    written = importlib.import_module("zoo_text").pages(measured)
    assert {path.name for path in folder.glob("*.md")} == written.keys()
    for name, text in written.items():
        assert (folder / name).read_text(encoding="utf-8") == text, (
            f"docs/zoo/{name} is out of date: run `python benchmarks/zoo_tables.py --pages`"
        )
