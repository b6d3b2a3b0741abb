"""Where an export may be written: never in the place of a user's file."""

from __future__ import annotations

from pathlib import Path

from detzoo.export.network import ExportError
from detzoo.runtime.atomic_files import check_writable
from detzoo.runtime.foreign_files import is_folder, is_there


def check_free(path: Path, ending: str) -> None:
    """Reject a path that is taken, or cannot be written.

    Raises:
        ExportError: with what to do.
        DiskError: the disk is full, or failed otherwise.
        OSError: nothing may be written there.
    """
    if path.suffix != ending:
        raise ExportError(f"--out {path}: the file's name must end in {ending}")
    if is_there(path):
        raise ExportError(f"{path} exists already; choose another --out")
    if not is_folder(path.parent):
        raise ExportError(f"--out {path}: the folder {path.parent} does not exist; make it first")
    check_writable(path.parent)  # before the slow work
