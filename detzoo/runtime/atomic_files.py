"""Files that are whole or not there: written next to their place, brought to the disk, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detzoo.errors import DiskError
from detzoo.runtime.foreign_files import is_folder, is_ordinary, is_there
from detzoo.runtime.machine_failures import machine_failure

_LONGEST_NAME: Final = 150
"""Bytes of a file name that still stands whole in the temporary one; systems allow 255."""
_MUCH: Final = 100_000
"""Bytes from which on a message says how many were to be written."""


@contextlib.contextmanager
def replacing(path: Path, *, size: int | None = None) -> Iterator[Path]:
    """Give a temporary path with the same suffix; what is written there takes the place of ``path`` at the end.

    At any moment either the old file or the new one is there, whole, even after a power cut. After an error the old one
    stays. The name holds the process, so that two never write into one file; what a killed one left is removed.
    A device or a pipe (``/dev/stdout``) is written into, once everything is known.

    Args:
        path: of the file.
        size: bytes that will be written, where known, for the message.

    Raises:
        DiskError: the disk is full, or failed otherwise.
        OSError: the file cannot be written; ``filename`` is ``path``.
    """
    temporary = path
    try:
        if is_there(path) and not is_ordinary(path) and not is_folder(path):
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder, path.name).with_suffix(path.suffix)
                yield temporary
                with temporary.open("rb") as content, path.open("wb") as device:
                    shutil.copyfileobj(content, device)
        else:
            with _beside(path) as temporary:
                yield temporary
                replace_durably(temporary, path)
    except OSError as error:
        reason = machine_failure(error)
        if reason is None:
            if error.errno is None or error.filename not in (None, str(temporary)):
                raise  # another file's, which the writer reads
            raise OSError(error.errno, error.strerror, str(path)) from None  # the temporary name tells nobody anything
        much = f", {size / 1e6:.1f} MB were to be written" if size is not None and size >= _MUCH else ""
        left = "the previous file is intact" if is_ordinary(path) else "nothing is left there"
        raise DiskError(f"{path}: {reason}{much}; {left}. Mend this and repeat the command") from None


@contextlib.contextmanager
def telling_disk(path: Path, left: str) -> Iterator[None]:
    """Name the place of a failure of the disk within, for writers of many files and of growing ones.

    Args:
        path: where the error names no file.
        left: what is there now, for the message.

    Raises:
        DiskError: the disk is full, or failed otherwise.
    """
    try:
        yield
    except OSError as error:
        reason = machine_failure(error)
        if reason is None:
            raise
        place = error.filename2 or error.filename or path  # of a copy: the one that is written
        raise DiskError(f"{place}: {reason}; {left}. Mend this and repeat the command") from None


def check_writable(folder: Path) -> None:
    """Make a file in a folder, and remove it: what takes minutes should not find out at its end.

    Args:
        folder: where it is missing, the nearest one above, in which it would be made.

    Raises:
        DiskError: the disk is full, or failed otherwise.
        OSError: nothing may be written there; ``filename`` is the folder.
    """
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with telling_disk(folder, "nothing was written"), tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from None


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder: a rename across disks would be a copy."""
    name = path.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    mark = f".{name}.{platform.node()}-"
    _remove_abandoned(path.parent, mark)
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _LONGEST_NAME // 3 else ""
    temporary = path.with_name(f"{mark}{os.getpid()}.tmp{suffix}")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone, or no folder at all
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file, or leave it as it was.

    Raises:
        DiskError: the disk is full, or failed otherwise.
    """
    with replacing(path, size=len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """The same in UTF-8; what UTF-8 cannot hold (half a surrogate pair of a broken file name) becomes ``?``.

    Raises:
        DiskError: the disk is full, or failed otherwise.
    """
    write_bytes(path, text.encode(errors="replace"))


def replace_durably(temporary: Path, path: Path) -> None:
    """Rename, with the content and the rename itself on the disk before this returns."""
    _sync(temporary)  # before the rename: else a power cut may leave an empty file
    os.replace(temporary, path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if is_ordinary(path) else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path, mark: str) -> None:
    """Remove temporary files of processes of this machine that are gone; a shared folder may hold other machines'."""
    if os.name != "posix" or not is_folder(folder):  # elsewhere signal 0 is not a question
        return
    for entry in os.scandir(folder):
        process = entry.name.removeprefix(mark).partition(".")[0]
        if entry.name.startswith(mark) and process.isdecimal() and not _lives(int(process)):
            Path(entry.path).unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's process: it lives
    return True
