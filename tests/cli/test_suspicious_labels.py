"""``detzoo data check --with`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

import detzoo

Run: TypeAlias = Callable[..., tuple[int, str, str]]
DATA = "shapes:train=6,val=1,test=1,size=64"


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Everything that is annotated, found; but for the first image, where one more object is."""
    truth = detzoo.open_dataset(DATA, "train").coco_ground_truth()
    rows = [{k: row[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9} for row in truth["annotations"]]
    more = {"image_id": truth["images"][0]["id"], "category_id": 1, "bbox": [0, 0, 3, 3], "score": 0.95}
    path = tmp_path / "found.json"
    path.write_text(json.dumps([more, *rows]))
    return path


def test_doubts_are_printed_and_are_no_error(found: Path, run: Run, tmp_path: Path) -> None:
    given = ("data", "check", DATA, "--split", "train", "--with", str(found))
    code, out, err = run(*given, "--out", str(tmp_path / "out"))
    assert code == 0
    assert "1 missing label" in out
    assert "boxes are found" in err  # how good the judge is comes first
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix) == [
        "suspicious.csv", "suspicious.html", "suspicious.json",
    ]  # fmt: skip
    code, out, _ = run(*given, "--json")
    (row,) = json.loads(out)
    assert (row["what"], row["label"], row["x2"]) == ("missing label", None, 3)


@pytest.mark.parametrize("extra", [("--out", "out"), ("--set", "a=1"), ("--device", "cpu")])
def test_options_of_a_detector_need_one(extra: tuple[str, str], run: Run) -> None:
    code, _, err = run("data", "check", DATA, *extra)
    assert code == 2
    assert "--with" in err


def test_a_folder_with_something_else_is_told_before_the_work(found: Path, run: Run, tmp_path: Path) -> None:
    code, _, err = run("data", "check", DATA, "--with", str(found), "--out", str(tmp_path))
    assert code == 2
    assert f"{tmp_path} is not empty" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json"]
