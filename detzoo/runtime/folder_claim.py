"""A folder that one command writes at a time, and goes on with when it is repeated."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import platform
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from detzoo.errors import DataError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_folder, is_ordinary, is_there
from detzoo.runtime.locks import locked

_log = logging.getLogger("detzoo.runtime")
LOCK: Final = ".lock"
"""Name of the lock file in a folder; it is there while a command is at work."""


def contents(out: Path) -> list[str]:
    """Names in a folder, the lock not among them; empty where there is no folder."""
    return sorted(entry.name for entry in out.iterdir() if entry.name != LOCK) if is_folder(out) else []


@contextlib.contextmanager
def locked_folder(out: Path, *, what: str) -> Iterator[None]:
    """Have a folder to oneself; it is made where it is missing.

    Args:
        out: the folder.
        what: works there, for the message.

    Raises:
        DataError: another process is at work there, or it is a file.
    """
    if is_there(out) and not is_folder(out):
        raise DataError(f"{out} is a file; --out takes a folder")
    out.mkdir(parents=True, exist_ok=True)
    us = f"{what}, process {os.getpid()} on {platform.node()}, since {datetime.now():%H:%M}"
    with locked(out / LOCK, wait=False, holder=us) as ours:
        if not ours:
            raise DataError(
                f"{out}: another detzoo {_holder(out / LOCK)} is at work in this folder; wait for it or end it, or "
                "choose another --out (nothing was changed)"
            )
        yield


def _holder(lock: Path) -> str:
    """Who has the lock, as it wrote there itself: ``training (process 4711 on gpu1, since 12:30)``."""
    with contextlib.suppress(OSError):  # it may have ended just now
        what, comma, rest = lock.read_text(encoding="utf-8", errors="replace").partition(", ")
        if comma:
            return f"{what} ({rest})"
    return "command"


@contextlib.contextmanager
def claimed_folder(out: Path, *, marker: str, what: str, written: str | None = None) -> Iterator[None]:
    """The same for a folder that is known as one of ours by a file in it.

    Args:
        out: the folder.
        marker: name of that file.
        what: the folder is called in messages.
        written: into that file as its format, where it is not there yet; None: the command writes it.

    Raises:
        DataError: another process is at work there, or the folder holds something else.
    """
    if contents(out) and not is_ordinary(out / marker):
        raise DataError(f"{out} is not empty and no {what} of detzoo (no {marker} in it); choose another --out")
    with locked_folder(out, what=what):
        if written is not None and not is_there(out / marker):
            write_text(out / marker, json.dumps({"format": written}) + "\n")
        yield


def tell_replaced(results: Path, what: str) -> None:
    """Say, once, that what an earlier command of the same kind wrote is about to be replaced.

    Args:
        results: the file; nothing is said where it is not there.
        what: wrote it, as ``prediction``.
    """
    if is_there(results):
        _tell(f"{results.parent} holds an earlier {what}, which is replaced")


@functools.lru_cache(1000)
def _tell(text: str) -> None:
    _log.warning("%s", text)


def wait_for_folder(out: Path) -> None:
    """Wait until no other process is at work in a folder: one that was given up may still be ending."""
    if is_there(out / LOCK):
        with locked(out / LOCK, wait=True):
            pass
