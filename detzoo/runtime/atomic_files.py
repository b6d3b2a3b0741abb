"""Files that are whole or not there: written beside their place, brought to the disk, renamed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from detzoo.errors import WeightsError


def replace_durably(temporary: Path, path: Path) -> None:
    """Rename, with the content and the rename itself on the disk before this returns."""
    _sync(temporary)
    os.replace(temporary, path)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_durably(path: Path, text: str) -> None:
    """The same for a small text file."""
    write_durably(path, text.encode())


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file, or leave it as it was.

    Raises:
        WeightsError: the disk is full.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        replace_durably(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        temporary.unlink(missing_ok=True)
        raise WeightsError(
            f"{path}: the disk is full, {len(content) / 1e6:.1f} MB were to be written; what was there before is "
            "whole. Make room and repeat the command, with --resume where a run had begun"
        ) from None


def write_whole(path: Path, text: str) -> None:
    """A reader sees the old file or the new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
