"""Paths that stand in annotation files: other people's words, never trusted to leave the dataset's folder."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from detzoo.runtime.images import SUFFIXES


def escapes(name: str) -> bool:
    """Whether a path from an annotation file is absolute or climbs with ``..``, on any operating system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts or name.startswith("~") or "\0" in name


def image_files(folder: Path, *, deep: bool = False) -> dict[str, Path]:
    """Image files of a folder, and with ``deep`` of those below it, by stem; the first of several with one stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("**/*" if deep else "*")):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, path)
    return found
