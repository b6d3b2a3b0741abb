"""Makes the toy detector importable, and runs its script."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forked import run_forked

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))  # for `from tests.training.training_toy import ...`


@pytest.fixture
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``training_toy.py`` with arguments, under ``launcher`` where one is given."""

    def run(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        if not launcher:
            return run_forked(str(HERE / "training_toy.py"), *arguments)
        command = [sys.executable, *launcher, str(HERE / "training_toy.py"), *arguments]
        root = str(HERE.parents[1])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": root}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)

    return run
