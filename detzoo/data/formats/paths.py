"""Paths that stand in annotation files: other people's words, never trusted to leave the dataset's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Final

from detzoo.data.checking.problems import Problems
from detzoo.runtime.foreign_files import files_below, files_in
from detzoo.runtime.images import SUFFIXES

_COMPANIONS: Final = frozenset({
    "", ".txt", ".xml", ".json", ".yaml", ".yml", ".csv", ".md", ".html", ".names", ".data", ".cache", ".npy", ".zip",
    ".db", ".ini", ".py", ".sh", ".log", ".pt", ".safetensors",
})  # fmt: skip
"""Endings that nobody takes for images."""


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
    """Whether there is an image in a folder, at any depth."""
    return any(path.suffix.lower() in SUFFIXES for path in files_below(folder))


def tell_passed_over(folder: Path, files: Iterable[Path], problems: Problems) -> None:
    """Count the files that may be images but are not read, by their endings."""
    endings = Counter(path.suffix.lower() for path in files if not path.name.startswith("."))
    strange = {ending: n for ending, n in sorted(endings.items()) if ending not in SUFFIXES | _COMPANIONS}
    if strange:
        text = ", ".join(f"{count} {ending}" for ending, count in strange.items())
        problems.warning("passed-over", folder, None, f"files that are not read: {text}; save them as .png or .jpg")
