"""Kill ``detzoo proposals make``, interrupt it, call it twice at once, and resume it: FOLDER. Run by its test.

One process that forks the commands, so that torch is imported once.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detzoo.cli import main
from detzoo.interfaces import Proposer
from detzoo.plugins.registry import get_registry

FOLDER = Path(sys.argv[1])
ALL = 1000


class Slow(Proposer):
    """Boxes that depend on the image; hangs for good after some images."""

    left = ALL

    def __init__(self, *, count: int = 5) -> None:
        self.count = count

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if Slow.left == 0:
            time.sleep(600)
        Slow.left -= 1
        corners = np.random.default_rng(int(image.sum())).uniform(0, 30, (self.count, 2, 2)).astype(np.float32)
        return np.concatenate([corners.min(1), corners.max(1) + 1], axis=1), np.ones(self.count, np.float32)


def start(name: str, images: int) -> int:
    """Start the command; each of its two workers hangs after some images. Returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that runs in the background inherits SIG_IGN
    Slow.left = images
    told = os.open(FOLDER / f"{name}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(told, 2)
    words = "proposals make --method slow --data shapes:train=16,val=8,size=32 --split train --split val --workers 2"
    sys.argv = ["detzoo", *words.split(), "--out", str(FOLDER / name.partition("-")[0])]
    code = 0
    try:
        main()
    except SystemExit as left:
        code = int(left.code or 0)
    sys.stderr.flush()
    os._exit(code)


def end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wait_for(path: Path, size: int) -> None:
    end = time.monotonic() + 240  # the workers import torch beside whatever else is tested
    while not path.is_file() or path.stat().st_size < size:
        assert time.monotonic() < end, f"{path} never grew to {size} bytes"
        time.sleep(0.01)


def told(name: str) -> str:
    return (FOLDER / f"{name}.err").read_text()


get_registry().register("proposer", "slow", Slow)
whole, killed, unfinished = FOLDER / "whole", FOLDER / "killed", FOLDER / "killed.unfinished"
image = 16 + 4 + 8 + 4 + 5 * 20  # bytes of a record: key, count, seconds, checksum, boxes and scores

assert end_of(start("whole", ALL)) == 0

first = start("killed-1", 3)
wait_for(unfinished, 6 * image)
assert end_of(start("killed-2", ALL)) == 2
assert "another command writes this file at this moment" in told("killed-2"), told("killed-2")
os.kill(first, signal.SIGKILL)
assert end_of(first) == -signal.SIGKILL
had = unfinished.stat().st_size
assert not killed.exists()

second = start("killed-3", 3)  # at once: orphans of the first are no obstacle
wait_for(unfinished, had + 6 * image)
os.kill(second, signal.SIGINT)
assert end_of(second) == 130
assert f"stopped; finished images are kept next to {killed}: repeat the command to resume" in told("killed-3")

assert end_of(start("killed-4", ALL)) == 0
assert killed.read_bytes() == whole.read_bytes()
print(sorted(path.name for path in FOLDER.iterdir() if path.suffix != ".err"))
