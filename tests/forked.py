"""Python programs in processes of their own, without the seconds that importing torchvision takes each.

They are forked from a server that has imported it and has done nothing else: it holds no thread and nothing of detzoo.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory


def run_forked(*words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What ``python`` does with these words: ``FILE``, ``-m MODULE`` or ``-c CODE``, and arguments.

    Args:
        words: those of the command line after ``python``.
        environment: its variables; this process's by default.
    """
    start_server()
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        given = (words, dict(os.environ if environment is None else environment), out, err)
        process = multiprocessing.get_context("forkserver").Process(target=become, args=given)
        process.start()
        process.join(300)  # seconds
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())


@cache
def start_server() -> None:
    """With one thread, whatever this process has: programs fork again, and threads do not survive that."""
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torchvision"])
    forkserver.ensure_running()
    os.environ.clear()
    os.environ.update(before)


def become(words: tuple[str, ...], environment: Mapping[str, str], out: Path, err: Path) -> None:
    """Turn a forked process into the program."""
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")
