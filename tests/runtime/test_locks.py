from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from detzoo.runtime.locks import locked, take_lock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are forked")


def test_a_lock_dies_with_its_holder_and_not_with_the_workers_that_it_forked(tmp_path: Path) -> None:
    path, (read, write) = tmp_path / "lock", os.pipe()
    holder = os.fork()
    if holder == 0:
        with path.open("ab") as file:
            assert take_lock(file, wait=False)
            file.write(b"not flushed yet")
            worker = os.fork()
            if worker == 0:
                file.flush()  # goes nowhere: the parent writes it
                os.write(write, b"%d" % os.getpid())
            signal.pause()
    worker = int(os.read(read, 20))
    try:
        with locked(path, wait=False) as ours:
            assert not ours
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(worker, 0)  # lives
        with path.open("ab") as file:
            assert take_lock(file, wait=False)
        assert path.read_bytes() == b""
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_parent_keeps_its_lock_when_a_forked_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, wait=False, holder="me") as ours:
        assert ours
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with locked(path, wait=False) as also:
            assert not also
        assert path.read_text() == "me"
    assert not path.exists()
