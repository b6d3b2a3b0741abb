"""``detzoo data check`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import open_dataset
from tests.data.damaged_sets import boxed, voc


def test_the_command_prints_the_lines_and_leaves_with_1(tmp_path: Path) -> None:
    voc(tmp_path, boxed(5, 5, 5, 9))
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[2:] == [
        f"{tmp_path}/b.xml:3: error: zero-box: cat: box 5 5 5 9; left out",
        "1 error, 0 warnings, 0 notes",
    ]
    as_json = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == [
        {
            "severity": "error",
            "code": "zero-box",
            "path": f"{tmp_path}/b.xml",
            "line": 3,
            "message": "cat: box 5 5 5 9; left out",
            "image": None,
        }
    ]


def test_the_command_leaves_with_0_when_nothing_is_wrong(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(voc(tmp_path))])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "no defect found"


def test_the_first_lines_count_splits_images_and_boxes(tmp_path: Path) -> None:
    folder = voc(tmp_path)
    boxes = len(open_dataset(folder, quiet=True).annotations().labels)
    first, second = CliRunner().invoke(app, ["check", str(folder)]).stdout.splitlines()[:2]
    assert first == f"{folder}: 1 split: all"
    assert second.startswith(f"all: {len(open_dataset(folder, quiet=True))} images, {boxes} boxes (cat ")
    lines = CliRunner().invoke(app, ["check", "shapes:train=3,val=2,test=1,size=64"]).stdout.splitlines()
    assert lines[0] == "shapes:train=3,val=2,test=1,size=64: 3 splits: train, val, test"
    starts = [line.split(",")[0] for line in lines if " images, " in line]
    assert starts == ["train: 3 images", "val: 2 images", "test: 1 images"]


def test_a_split_that_cannot_be_read_is_named_among_them(tmp_path: Path) -> None:
    (tmp_path / "instances_train.json").write_text('{"images": [], "annotations": []}')
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[:2] == [f"{tmp_path}: 1 split: train", "train: cannot be read"]


def test_many_of_a_kind_are_shortened(tmp_path: Path) -> None:
    voc(tmp_path, (boxed(5, 5, 5, 9) + "\n") * 30)
    lines = CliRunner().invoke(app, ["check", str(tmp_path)]).stdout.splitlines()
    assert "... and 10 more zero-box (--all shows them)" in lines
    assert sum("error: zero-box" in line for line in lines) == 20
    everything = CliRunner().invoke(app, ["check", str(tmp_path), "--all"]).stdout
    assert everything.count("error: zero-box") == 30
