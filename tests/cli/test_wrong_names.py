"""A name that nobody knows is told before data are read, images searched or anything written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

pytest.importorskip("detzoo_ssd")
Run: TypeAlias = Callable[..., tuple[int, str, str]]

HINTS = {
    "ssd_mobilenet_v3": '"ssd_mobilenet_v2"',
    "runs/none": "no run folder",
    "r": "no run folder r either",
    "none.yaml": "No such file",
}


@pytest.mark.parametrize(
    "command",
    [
        "eval {} --data missing",
        "predict {} missing.jpg --out out",
        "compare ssd_mobilenet_v2 {} --data shapes --train --out out",
        "bench ssd_mobilenet_v2 {}",
        "data check missing --with {}",
        "train {} --data missing --out out",
        "export {} --out out.onnx",
        "show {}",
    ],
)
@pytest.mark.parametrize("name", list(HINTS))
def test_a_wrong_name_comes_first(
    command: str,
    name: str,
    installed: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = installed(*command.format(name).split())
    assert code == 2
    assert name in told
    assert HINTS[name] in told
    assert "missing" not in told
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_is_taken_comes_before_weights_are_fetched(
    installed: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    code, _, told = installed("train", "ssd_mobilenet_v2_fpn", "--data", "shapes", "--out", "thesis")
    assert code == 2
    assert told.startswith("error: thesis: exists and is no run of detzoo; choose another --out")
    assert not (tmp_path / "cache").exists()


def test_an_import_is_written_under_the_ending_that_is_read(installed: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "nano.onnx")
    code, _, told = installed(
        "weights", "import", "a.onnx", "--from", "x", "--detector", "ssd_mobilenet_v2", "--out", out
    )
    assert code == 2
    assert "nano.onnx: a checkpoint's name must end in .safetensors" in told
