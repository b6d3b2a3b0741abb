"""A comparison that is killed goes on where it stopped: neither files nor the halves of a detector are done twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import detzoo
from detzoo.comparison.plan import ComparisonPlan
from detzoo.comparison.run_comparison import compare
from tests.comparison.result_folders import DATA, Compared
from tests.forked import run_forked

SCRIPT = Path(__file__).with_name("killed_comparison.py")
RECIPE = """api: 1
detectors:
  tiny:
    extends: ssd_mobilenet_v2_fpn
    num_classes: 5
    input: {size: [64, 64]}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    data = detzoo.open_dataset(DATA, "train")
    detector = detzoo.build(str(recipe), classes=data.classes, weights=None)
    detzoo.train(detector, data, tmp_path / "run", device="cpu", workers=0, steps=1, progress=False)
    return tmp_path / "run"


def test_killed_while_timing(compared: Compared, run: Path, tmp_path: Path) -> None:
    targets = [str(compared.sources["theirs"]), str(run), str(compared.sources["numbers"])]
    out = tmp_path / "out"
    name = tmp_path.name  # `run` itself is no telling name
    killed = run_forked(str(SCRIPT), str(out), DATA, "timing, turn 1", *targets)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert f"{name}: evaluating on shapes test, 6 images" in killed.stdout
    assert not (out / "index.html").exists()
    said: list[str] = []
    plan = ComparisonPlan(
        targets=targets, data=DATA, out=out, device="cpu", iterations=1, workers=0, examples=1, largest_batch=1
    )
    done = compare(plan, said.append)
    assert said[:3] == ["theirs: already done", f"{name}: already evaluated", "numbers: already done"]
    assert "timing, turn 1 of 1" in said
    assert [entry.name for entry in done.entries] == ["theirs", name, "numbers"]
    assert done.entries[1].benchmark["latency_ms"]["total"]["p50"] > 0
    assert done.entries[1].throughput["best_batch"] >= 1
    assert done.entries[1].facts.architecture == "ssd"
    assert (out / "index.html").is_file()
    # Nothing is left to do.
    said.clear()
    assert compare(plan, said.append).table.json() == done.table.json()
    assert said == [f"{entry.name}: already done" for entry in done.entries]
