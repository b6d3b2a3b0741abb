"""``detzoo data check`` as a command."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from detzoo.cli.data import app
from tests.data.damaged_sets import boxed, voc


def test_the_command_prints_the_lines_and_leaves_with_1(tmp_path: Path) -> None:
    voc(tmp_path, boxed(5, 5, 5, 9))
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == (
        f"{tmp_path}/b.xml:3: error: zero-box: cat: box 5 5 5 9; left out\n1 errors, 0 warnings, 0 notes\n"
    )
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
    assert (result.exit_code, result.stdout) == (0, "no defect found\n")


def test_many_of_a_kind_are_shortened(tmp_path: Path) -> None:
    voc(tmp_path, (boxed(5, 5, 5, 9) + "\n") * 30)
    lines = CliRunner().invoke(app, ["check", str(tmp_path)]).stdout.splitlines()
    assert "... and 10 more zero-box (--all shows them)" in lines
    assert sum("error: zero-box" in line for line in lines) == 20
    everything = CliRunner().invoke(app, ["check", str(tmp_path), "--all"]).stdout
    assert everything.count("error: zero-box") == 30
