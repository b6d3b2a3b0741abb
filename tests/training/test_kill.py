"""Killed with SIGKILL at any moment and resumed, a run ends as if it had been left alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detzoo.weights.checkpoint import load_checkpoint
from tests.training.training_toy import read_log

Script = Callable[..., subprocess.CompletedProcess[str]]


def assert_equal_runs(whole: Path, killed: Path) -> None:
    """Weights, average, generators, state, log, curve and results, to the bit; only times may differ."""
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_checkpoint(whole / name), load_checkpoint(killed / name)
        for part in ("model", "ema", "optim", "rng"):
            one, two = getattr(a, part), getattr(b, part)
            assert one.keys() == two.keys()
            different = [k for k in one if not torch.equal(one[k].nan_to_num(), two[k].nan_to_num())]
            assert different == [], f"{name}: {part}"
        assert a.run.get("settings") == b.run.get("settings")
        assert {**a.run["state"], "seconds": 0} == {**b.run["state"], "seconds": 0}
    assert _untimed(read_log(whole)) == _untimed(read_log(killed))
    for name in ("curve.csv", "recipe.yaml", "detections.json"):
        assert (whole / name).read_text() == (killed / name).read_text(), name
    results = [json.loads((folder / "results.json").read_text())["metrics"] for folder in (whole, killed)]
    assert results[0] == results[1]
    assert sorted(p.name for p in whole.iterdir()) == sorted(p.name for p in killed.iterdir())


def _untimed(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in log]


def test_killed_within_and_around_every_kind_of_write(tmp_path: Path, script: Script) -> None:
    done = script("writes", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 6, "the run was hardly ever killed"
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_times(tmp_path: Path, script: Script, seed: int) -> None:
    done = script("anywhere", str(tmp_path), str(seed))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1, "the run was never killed"
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")
