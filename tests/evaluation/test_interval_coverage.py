"""A small version of ``benchmarks/interval_coverage.py``: intervals cover a truth that is known."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from detzoo.evaluation import paired_difference

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REPETITIONS = 80


@pytest.mark.slow  # 80 test sets, and the AP of 100,000 images
def test_intervals_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    coverage = importlib.import_module("interval_coverage")
    (_, one), (_, other) = coverage.truth(100_000, 1)
    name = "in 50 %"
    true = {"AP": one[name]["AP"], "difference": one[name]["AP"] - other[name]["AP"]}
    covered = dict.fromkeys(true, 0)
    for repetition in range(REPETITIONS):
        first, second = coverage.test_set(60, repetition, 400)
        intervals = {
            "AP": first.interval("AP", name),
            "difference": paired_difference(first, second, "AP", name).interval,
        }
        for what, interval in intervals.items():
            covered[what] += interval.low <= true[what] <= interval.high
    # 76 of 80 are expected; fewer than 70 happen by chance once in 400 times.
    assert all(70 <= count <= REPETITIONS for count in covered.values()), covered
    assert sum(covered.values()) < 2 * REPETITIONS  # intervals that are too wide would cover always
