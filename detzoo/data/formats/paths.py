"""Paths that stand in annotation files: other people's words, never trusted to leave the dataset's folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Final

from detzoo.data.checking.problems import Problems
from detzoo.runtime.foreign_files import files_below, files_in, walk
from detzoo.runtime.images import SUFFIXES
from detzoo.runtime.passed_over import passed_over

_LOOKED_AT: Final = 200_000


def escapes(name: str) -> bool:
    """Whether a path from an annotation file is absolute or climbs with ``..``, on any operating system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts or name.startswith("~") or "\0" in name


def image_files(folder: Path, *, deep: bool = False) -> dict[str, list[Path]]:
    """Image files of a folder, and with ``deep`` of those below it, by stem, each list sorted."""
    found: dict[str, list[Path]] = {}
    for path in files_below(folder) if deep else files_in(folder):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return found


def has_images(folder: Path) -> bool:
    """Whether there is an image among the first files of a folder, at any depth; it may be somebody's home."""
    return any(path.suffix.lower() in SUFFIXES for path in itertools.islice(walk(folder), _LOOKED_AT))


def tell_passed_over(folder: Path, files: Iterable[Path], problems: Problems) -> None:
    """Count the files that may be images but are not read, by their endings."""
    text = passed_over(files)
    if text:
        problems.warning("passed-over", folder, None, f"files that are not read: {text}; save them as .png or .jpg")
