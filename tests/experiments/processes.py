"""``detzoo sweep`` as a process of its own, on the smallest detector and data, and what trainings have left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

RECIPE = f"{Path(__file__).parents[2] / 'detzoo' / 'comparison' / 'demo.yaml'}#ssd_resnet18"
DATA = "shapes:size=64,train=4,val=2,test=2"


def detzoo(out: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """``detzoo sweep``, with ``env`` above the environment."""
    shared = ["--data", DATA, "--weights", "none", "--batch", "4", "--workers", "0", "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "detzoo", "sweep", RECIPE, *shared, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | dict(env or {}),
    )


def resumed_after(out: Path, name: str) -> int:
    """The step of the last resume; here a step is an epoch."""
    return int((out / "logs" / f"{name}.txt").read_text().rpartition("resuming after step ")[2].split()[0])


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    """Until it is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.05)
