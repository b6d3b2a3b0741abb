"""Two processes under torchrun give the losses of one with the same global batch, to rounding."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detzoo.weights.checkpoint import load_checkpoint
from tests.training.training_toy import read_log

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.slow
@pytest.mark.parametrize("normaliser", ["batch", "image"])
def test_two_processes_equal_one(
    tmp_path: Path, script: Callable[..., subprocess.CompletedProcess[str]], normaliser: str
) -> None:
    for name, launcher in (("one", ()), ("two", TORCHRUN)):
        done = script("shared", str(tmp_path / name), normaliser, launcher=launcher)
        assert done.returncode == 0, done.stderr
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        assert a["terms"] == pytest.approx(b["terms"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-5)
    ends = [load_checkpoint(tmp_path / name / "last.safetensors") for name in ("one", "two")]
    for name, value in ends[0].model.items():
        torch.testing.assert_close(value, ends[1].model[name], rtol=1e-4, atol=1e-6)
    assert {name.partition(".")[0] for name in ends[1].rng} == {"0", "1"}
