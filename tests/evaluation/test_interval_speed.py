"""A small run of ``benchmarks/interval_speed.py``: the numbers are pycocotools', and both kinds of seconds are told."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_a_small_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    speed = importlib.import_module("interval_speed")
    sizes = {"images": 20, "classes": 3, "detectors": 2, "resamples": 10, "detections": 50}
    words = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    monkeypatch.setattr(sys, "argv", ["interval_speed.py", *words, "--out", str(tmp_path / "speed.json")])
    assert speed.main() == 0
    figures = json.loads((tmp_path / "speed.json").read_text())
    assert {name: figures[name] for name in sizes} == sizes
    assert figures["largest_difference_from_pycocotools"] < 1e-12
    assert set(figures["resampling_seconds"]) == {"wall", "processor"}
    assert figures["goal_wall_seconds"] is None  # of the whole size alone
