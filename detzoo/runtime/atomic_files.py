"""Files that are whole or not there: written next to their place, brought to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from detzoo.errors import WeightsError


@contextlib.contextmanager
def replacing(path: Path, *, size: int | None = None) -> Iterator[Path]:
    """Give a temporary path with the same suffix; what is written there takes the place of ``path`` at the end.

    At any moment either the old file or the new one is there, whole, even after a power cut. After an error the old one
    stays. The name holds the process, so that two never write into one file; what a killed one left is removed.

    Args:
        path: of the file.
        size: bytes that will be written, where known, for the message.

    Raises:
        WeightsError: the disk is full.
    """
    mark = f".{path.name}.{platform.node()}-"
    _remove_abandoned(path.parent, mark)
    temporary = path.with_name(f"{mark}{os.getpid()}.tmp{path.suffix}")  # same folder: a rename across disks is a copy
    try:
        yield temporary
        replace_durably(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        much = "" if size is None else f", {size / 1e6:.1f} MB were to be written"
        raise WeightsError(
            f"{path}: the disk is full{much}; the previous file is intact. Make room and repeat the command, with "
            "--resume where a run had begun"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file, or leave it as it was.

    Raises:
        WeightsError: the disk is full.
    """
    with replacing(path, size=len(content)) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """The same in UTF-8.

    Raises:
        WeightsError: the disk is full.
    """
    write_bytes(path, text.encode())


def replace_durably(temporary: Path, path: Path) -> None:
    """Rename, with the content and the rename itself on the disk before this returns."""
    _sync(temporary)  # before the rename: else a power cut may leave an empty file
    os.replace(temporary, path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path, mark: str) -> None:
    """Remove temporary files of processes of this machine that are gone; a shared folder may hold other machines'."""
    if os.name != "posix" or not folder.is_dir():  # elsewhere signal 0 is not a question
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
