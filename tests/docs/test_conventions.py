"""Every field that docs/conventions.md names exists in a recipe of the zoo, or is an option."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from detzoo.evaluation.voc_map import CHOICES
from detzoo.plugins.registry import get_registry
from detzoo.recipes.recipe import load_recipe

PAGE = Path(__file__).parents[2] / "docs" / "conventions.md"
OPTION = "detzoo eval --voc-protocol "


def named_fields() -> list[str]:
    """Code spans of the column "field" of the table of differences; a word without a dot belongs to the one before."""
    table = PAGE.read_text().partition("## Where implementations differ")[2].partition("\n## ")[0]
    found: list[str] = []
    for row in re.findall(r"^\| .* \|$", table, re.MULTILINE)[1:]:
        for name in re.findall(r"`([^`]+)`", row.split("|")[2]):
            alone = "." not in name and not name.startswith("detzoo")
            found.append(f"{found[-1].rpartition('.')[0]}.{name}" if alone else name)
    return found


@cache
def every_field() -> frozenset[str]:
    """Dotted paths of all resolved recipes; numbers of a list are left out."""
    found: set[str] = set()

    def walk(value: Any, path: str) -> None:
        found.add(path)
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}".removeprefix("."))
        elif isinstance(value, list):
            for inner in value:
                walk(inner, path)

    for name in get_registry().detectors():
        walk(load_recipe(name).values, "")
    return frozenset(found)


def test_the_table_is_read() -> None:
    assert len(named_fields()) > 30
    assert "postprocess.clip" in named_fields()


@pytest.mark.parametrize("name", named_fields())
def test_a_named_field_exists(name: str) -> None:
    for plugin in ("detzoo_ssd", "detzoo_faster_rcnn", "detzoo_rcnn", "detzoo_retinanet", "detzoo_yolo"):
        pytest.importorskip(plugin)
    if name.startswith(OPTION):
        assert name.removeprefix(OPTION).removesuffix("=") in CHOICES
    else:
        assert name in every_field()
