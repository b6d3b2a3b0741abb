"""One process at a time: locks that the system frees when their holder ends, however it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from detzoo.runtime.foreign_files import is_there

_log: Final = logging.getLogger("detzoo.runtime")
_held: Final[weakref.WeakSet[IO[Any]]] = weakref.WeakSet()


def _let_go() -> None:
    """In a process just forked: a lock is its parent's alone, and free as soon as that one is killed.

    The descriptor stays open, on nothing: what the file object had not written yet goes nowhere, and closing it
    closes no other file.
    """
    for file in _held:
        if not file.closed:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, file.fileno(), inheritable=False)
            os.close(nothing)


if os.name == "posix":
    os.register_at_fork(after_in_child=_let_go)


def take_lock(file: IO[Any], *, wait: bool) -> bool:
    """Lock an open file until it is closed. A process forked meanwhile has neither the lock nor the file.

    Args:
        file: open for writing.
        wait: until it is free.

    Returns:
        whether it is ours: False where another process has it, or has just removed the file.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks: two processes may do the same work twice, renames stay atomic
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network disks have no locks; another command there would not be noticed
        _log.warning("%s: this disk has no locks (%s); start nothing else that writes there", file.name, error.strerror)
    _held.add(file)
    return os.fstat(file.fileno()).st_nlink > 0  # 0: its owner removed it while we waited


def _write_holder(file: IO[Any], holder: str) -> None:
    """Unbuffered: on a full disk the lock holds without it, and what the command writes names its file."""
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), holder.encode())


@contextlib.contextmanager
def locked(path: Path, *, wait: bool, holder: str = "") -> Iterator[bool]:
    """Hold the lock file ``path``; it is removed at the end.

    Args:
        path: in a folder that exists.
        wait: until it is free.
        holder: written into the file, for whoever finds it taken.

    Returns:
        whether it is ours; always True with ``wait``.
    """
    while True:
        with path.open("a") as file:
            ours = take_lock(file, wait=wait)
            if ours or not (wait or not is_there(path)):  # removed just now: look again
                try:
                    if ours and holder:
                        _write_holder(file, holder)
                    yield ours
                finally:
                    if ours:
                        path.unlink(missing_ok=True)  # who waits for it sees that it is gone
                return
