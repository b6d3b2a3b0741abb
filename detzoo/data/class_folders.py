"""Images in folders that are named after what they show: the data of plain classification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from detzoo.data.formats.split_names import with_role
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import files_below, is_folder, is_ordinary
from detzoo.runtime.images import SUFFIXES

_LAYOUT: Final = (
    "write FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg, or FOLDER/CLASS/*.jpg, of which a part is kept for "
    "validation"
)
_NAMED: Final = 5  # of many names, in a message


@dataclass(frozen=True)
class ClassFolders:
    """The images of a dataset for classification.

    Args:
        name: for tables.
        classes: names by label, in alphabetical order.
        train: (file, label) of each image to learn from, sorted by path.
        val: likewise, to validate on; may be empty.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[tuple[Path, int], ...]
    val: tuple[tuple[Path, int], ...]


def read_class_folders(folder: Path, *, val_fraction: float = 0.1, seed: int = 0) -> ClassFolders:
    """Find classes and images; no image is opened.

    Args:
        folder: with ``train`` and ``val``, or with the classes themselves.
        val_fraction: of each class's images that are kept for validation where no folder holds them; a class of
            several images keeps one at least, and learns from one at least.
        seed: of that choice.

    Raises:
        DataError: no class folders, one class, an empty class, classes of the validation that are not learnt; or a
            dataset for detection.
    """
    if not is_folder(folder):
        raise DataError(_no_folder(folder))
    below = sorted(path.name for path in folder.iterdir() if is_folder(path))
    learnt = next((folder / name for name in with_role(below, "train")), folder)
    validation = with_role(below, "val")
    checked = None if learnt == folder or not validation else folder / validation[0]
    found = _classes(learnt)
    problem = _problem(learnt, found)
    if problem is not None:
        raise DataError(_detection(folder) or problem)
    classes = tuple(found)
    train = {label: found[name] for label, name in enumerate(classes)}
    if checked is not None:
        val = _validation(checked, classes)
    else:
        rng = np.random.default_rng(seed)
        val = {}
        for label, paths in train.items():
            kept = min(len(paths) - 1, max(1, round(val_fraction * len(paths)))) if val_fraction > 0 else 0
            chosen = set(rng.permutation(len(paths))[:kept].tolist())
            val[label] = [path for number, path in enumerate(paths) if number in chosen]
            train[label] = [path for number, path in enumerate(paths) if number not in chosen]
    return ClassFolders(folder.resolve().name, classes, _listed(train), _listed(val))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Images by the name of the folder below ``folder`` in which, at any depth, they lie."""
    below = sorted(path for path in folder.iterdir() if is_folder(path) and not path.name.startswith("."))
    return {
        path.name: [file for file in files_below(path) if file.suffix.lower() in SUFFIXES and is_ordinary(file)]
        for path in below
    }


def _problem(folder: Path, found: dict[str, list[Path]]) -> str | None:
    empty = [name for name, paths in found.items() if not paths]
    if not found or len(empty) == len(found):
        return f"{folder}: no class folders with images: {_LAYOUT}"
    if empty:
        return f"{folder}: no image in {_some(empty)}: put images there, or remove the folder"
    if len(found) == 1:
        return f"{folder}: a single class ({next(iter(found))}): a classifier needs at least two; {_LAYOUT}"
    return None


def _validation(folder: Path, classes: Sequence[str]) -> dict[int, list[Path]]:
    found = _classes(folder)
    strange = [name for name in found if name not in classes]
    if strange:
        raise DataError(
            f"{folder}: {_some(strange)} is not among the classes that are learnt ({_some(list(classes))}): remove it, "
            "or add it to the training images"
        )
    return {label: found.get(name, []) for label, name in enumerate(classes)}


def _no_folder(path: Path) -> str:
    if is_ordinary(path):
        return f"{path} is a file; `detzoo pretrain` learns from a folder of classes: {_LAYOUT}"
    return f"{path}: no such folder; `detzoo pretrain` learns from a folder of classes: {_LAYOUT}"


def _detection(folder: Path) -> str | None:
    """What to say where the folder is a dataset for detection."""
    from detzoo.data.formats.sniff import describe

    try:
        kind = describe(folder).format
    except DataError:
        return None
    return (
        f"{folder} is a dataset for detection (format {kind}): `detzoo train` learns from it. `detzoo pretrain` "
        f"learns whole images from a folder of classes: {_LAYOUT}"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _listed(by_label: dict[int, list[Path]]) -> tuple[tuple[Path, int], ...]:
    return tuple((path, label) for label, paths in by_label.items() for path in paths)
