"""One comparison of result files, for all that look at it: made once."""

from __future__ import annotations

import json

import pytest

from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from detzoo.data import open_dataset
from tests.comparison.result_folders import DATA, Compared, benchmark_json, found_in, write_results


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Two result folders with speed, one of another machine; one with numbers alone; one file of detections."""
    root = tmp_path_factory.mktemp("compared")
    dataset = open_dataset(DATA, "test")
    good, poor = found_in(dataset, shift=0.5, wrong=100), found_in(dataset, shift=4, wrong=3)
    sources = {
        "good": write_results(root / "good", dataset, good, architecture="ssd", side=128),
        "fast": write_results(root / "fast", dataset, poor, architecture="rpn", side=64),
        "elsewhere": write_results(
            root / "elsewhere", dataset, poor, architecture="ssd", side=96, device={"type": "cuda", "name": "a GPU"}
        ),
        "numbers": write_results(root / "numbers", dataset, good, architecture="ssd", side=128),
    }
    (sources["good"] / "benchmark.json").write_text(json.dumps([benchmark_json(40.0)]))
    (sources["fast"] / "benchmark.json").write_text(json.dumps(benchmark_json(10.0)))
    gpu = {"type": "cuda", "name": "a GPU"}
    (sources["elsewhere"] / "benchmark.json").write_text(json.dumps(benchmark_json(1.0, device=gpu)))
    (sources["numbers"] / "detections.json").unlink()
    sources["theirs"] = root / "theirs.json"
    sources["theirs"].write_text(json.dumps(poor))
    said: list[str] = []
    plan = ComparisonPlan(targets=[str(path) for path in sources.values()], data=DATA, out=root / "out", examples=4)
    return Compared(compare(plan, said.append), root / "out", sources, said)
