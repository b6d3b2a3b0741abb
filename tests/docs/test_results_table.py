"""docs/results: the table is made of the folders, and what is committed stays small."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"


def test_the_table_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    table = importlib.import_module("results_table")
    found = table.folders()
    assert len(found) >= 17
    assert (RESULTS / "trained.md").read_text(encoding="utf-8") == table.page(found)


def test_results_stay_below_8_mb() -> None:
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < 8e6
