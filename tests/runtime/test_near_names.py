"""One mechanism suggests names: letters that differ, case, beginnings, and what lies beside a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.runtime.foreign_files import is_folder
from detzoo.runtime.near_names import near_names, nearest, nearest_path

KNOWN = ["simota", "atss", "max_iou", "ssd300_vgg16_voc", "ssd512_vgg16_voc"]


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("simotta", ["simota"]),
        ("SimOTA", ["simota"]),
        ("max-iou", ["max_iou"]),
        ("ssd300", ["ssd300_vgg16_voc"]),
        ("", []),
        ("nothing like it", []),
        ("x" * 100_000, []),
    ],
)
def test_what_was_meant(name: str, close: list[str]) -> None:
    assert near_names(name, KNOWN) == close


def test_nothing_is_known() -> None:
    assert nearest("a", []) == ""


def test_beside_a_path(tmp_path: Path) -> None:
    (tmp_path / "fruits").mkdir()
    (tmp_path / "fruit.txt").touch()
    assert nearest_path(tmp_path / "friuts", is_folder) == f'did you mean "{tmp_path / "fruits"}"?'
    assert nearest_path(tmp_path / "fruit.text") == f'did you mean "{tmp_path / "fruit.txt"}"?'
    assert nearest_path(tmp_path / "no" / "folder") == ""
