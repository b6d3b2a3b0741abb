"""Files beside images that may be images too, but of a kind that is not read: counted, never passed over silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from detzoo.runtime.images import SUFFIXES

_COMPANIONS: Final = frozenset({
    "", ".txt", ".xml", ".json", ".yaml", ".yml", ".csv", ".md", ".html", ".pdf", ".names", ".data", ".cache", ".npy",
    ".zip", ".gz", ".db", ".ini", ".py", ".sh", ".log", ".pt", ".onnx", ".safetensors",
})  # fmt: skip
"""Endings that nobody takes for images."""


def passed_over(files: Iterable[Path], read: frozenset[str] = SUFFIXES) -> str:
    """``2 .heic, 1 .tga``: what is neither read nor a companion of images, by endings; empty where nothing is.

    Args:
        files: of a folder.
        read: endings that are read.
    """
    endings = Counter(path.suffix.lower() for path in files if not path.name.startswith("."))
    strange = [(ending, count) for ending, count in sorted(endings.items()) if ending not in read | _COMPANIONS]
    return ", ".join(f"{count} {ending}" for ending, count in strange)
