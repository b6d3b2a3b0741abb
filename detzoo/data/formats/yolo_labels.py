"""Where the label files of YOLO images lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from detzoo.runtime.foreign_files import is_folder

NO_LABELS: Final = ("classes.txt", "notes.txt", "readme.txt", "README.roboflow.txt", "README.dataset.txt")
"""Text files that stand among label files and are none."""


def label_folder(images: Path) -> Path:
    """``.../images/train`` -> ``.../labels/train``: the last ``images`` of the path, as Ultralytics has it."""
    parts = list(images.parts)
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == "images":
            return Path(*parts[:at], "labels", *parts[at + 1 :])
    return images


def find_labels(images: Path, root: Path) -> Path | None:
    """The folder of the label files of a folder of images; None where there is none, or ``images`` is a list.

    ``images`` in the path below the dataset becomes ``labels``; else the labels lie beside the images, or ``images``
    in the path above is meant.

    Args:
        images: the folder.
        root: of the dataset.
    """
    if not is_folder(images):
        return None
    places = [label_folder(images)]
    if images.is_relative_to(root):
        within = images.relative_to(root)
        below = root / label_folder(within)
        places = [below, *places] if "images" in within.parts else [images, *places]
    places = [*places, images]
    with_files = [place for place in places if is_folder(place) and _has_labels(place)]
    return next(iter(with_files), next((place for place in places if place != images and is_folder(place)), None))


def _has_labels(folder: Path) -> bool:
    return any(path.name not in NO_LABELS for path in folder.rglob("*.txt"))
