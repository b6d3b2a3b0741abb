"""Paths that stand in annotation files: other people's words, never trusted to leave the data set's folder."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from detzoo.data.images import SUFFIXES


def escapes(name: str) -> bool:
    """Whether a path from an annotation file is absolute or climbs with ``..``, on any operating system."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts or name.startswith("~") or "\0" in name


def pictures(folder: Path) -> dict[str, Path]:
    """Picture files directly in a folder, by stem, sorted; the first of several with one stem."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, path)
    return found
