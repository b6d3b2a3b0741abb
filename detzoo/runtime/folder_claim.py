"""A folder that one command writes at a time, and goes on with when it is repeated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detzoo.errors import DataError
from detzoo.runtime.atomic_files import write_whole

LOCK: Final = ".lock"


@contextlib.contextmanager
def alone(out: Path, *, marker: str, what: str) -> Iterator[None]:
    """Have a folder to oneself; it is made where it is missing.

    Args:
        out: the folder.
        marker: the file by which a folder is known as one of ours.
        what: it is called in messages.

    Raises:
        DataError: another process is at work there, or it holds something else.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; --out takes a folder")
    if out.is_dir() and not (out / marker).exists() and any(entry.name != LOCK for entry in out.iterdir()):
        raise DataError(f"{out} is not empty and no {what} of detzoo (no {marker} in it); choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as file:
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{out}: another detzoo {what} is at work in this folder; wait for it, or end it") from None
        yield


def claim(out: Path, *, marker: str, written: str, what: str) -> None:
    """Make the folder ours, or refuse one that is not.

    Args:
        out: the folder.
        marker: name of the file that says it is ours.
        written: into that file, as its format.
        what: the folder is called in the message.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; --out takes a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        raise DataError(
            f"{out} is not empty and no {what} of detzoo (no {marker} in it); choose another folder for --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    if not (out / marker).exists():
        write_whole(out / marker, json.dumps({"format": written}) + "\n")
