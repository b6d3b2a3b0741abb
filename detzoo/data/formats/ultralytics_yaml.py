"""Ultralytics' data.yaml: ``path``, ``names`` or ``nc``, and a key per split with folders or lists of images."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Final

from detzoo.data.formats.image_names import ending_below
from detzoo.data.formats.paths import has_images
from detzoo.data.formats.source import DataSource, Part
from detzoo.data.formats.split_names import EXPECTED, role_of
from detzoo.data.formats.values import shown
from detzoo.data.formats.yolo_labels import find_labels, label_folder
from detzoo.data.formats.yolo_layouts import yolo_folder
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_folder, is_ordinary, is_there

_OPTIONS: Final = ("skip_if_label_file_missing", "kpt_shape", "task")
_TASKS: Final = ("detect", "segment", "pose", "obb")
OTHER_KEYS: Final = (
    "path", "names", "nc", "format", "name", "download", "kpt_names", "flip_idx", "roboflow", "channels", "author",
    "date", "version", "license", "docs", "description", "url", "groups", *_OPTIONS,
)  # fmt: skip


def ultralytics(path: Path, content: dict[str, Any]) -> DataSource:
    """The source of an Ultralytics data.yaml.

    Every key that holds a path to images is a split, whatever it is called.

    Raises:
        DataError: no split, no classes, a number of them that is not ``nc``, or a choice of them.
    """
    root = inside(path, path.parent, content.get("path", "."))
    notes: list[str] = []
    if not is_folder(root):
        notes.append(f"path: {content['path']} is not here; {path.parent} is taken, relative to the file")
        root = path.parent  # its default is relative to a folder of Ultralytics' own
    if "classes" in content:
        raise DataError(
            f"{path}: classes chooses from the names where the splits stand under `splits:`; here, give the names "
            "under `names:`, in the order of the numbers in the label files"
        )
    names, said = _names_or_count(path, content)
    notes += said
    splits: dict[str, tuple[Part, ...]] = {}
    for key, value in content.items():
        if key in OTHER_KEYS or not value:
            continue
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str) for entry in entries):
            if role_of(key) is not None:
                raise DataError(f"{path}: {key} must be a folder of images, a list file, or several, not {value!r}")
            notes.append(f"the key {key!r} means nothing here; not read")
            continue
        whole = [entry for entry in entries if _is_everything(inside(path, root, entry))]
        if whole and role_of(key) is not None:
            raise DataError(f"{path}: {key}: {whole[0]} is a whole disk or home folder; name the folder of the images")
        if whole:
            notes.append(f"the key {key!r} ({whole[0]}) is no split: a whole disk or home folder; not read")
            continue
        parts = tuple(_part(path, root, entry, notes) for entry in entries)
        if role_of(key) is not None or any(_holds_images(part.images) for part in parts):
            splits[key] = parts
        else:
            notes.append(f"the key {key!r} ({entries[0]}) is no split: no folder of images, no list; not read")
    options: dict[str, Any] = {key: content[key] for key in _OPTIONS if key in content}
    _check_options(path, options)
    if not splits:
        found = yolo_folder(root, names) if is_folder(root) else None
        if found is None:
            raise DataError(f"{path}: names, but none of {EXPECTED}: where are the images?")
        return dataclasses.replace(found, place=str(path), options=options, notes=(*notes, *found.notes))
    return DataSource(
        str(path), root.resolve().name, "yolo", root, splits, names=names, options=options, notes=tuple(notes)
    )


def inside(path: Path, base: Path, value: Any) -> Path:
    """A path of a YAML file, relative to ``base``."""
    if not isinstance(value, str):
        raise DataError(f"{path}: a path must be text, not {value!r}")
    found = base / value
    try:
        found = base / Path(value).expanduser()
        os.stat(found)
    except (FileNotFoundError, NotADirectoryError):
        return found  # said where it is needed
    except (OSError, ValueError, RuntimeError) as error:  # too long, impossible, links in a circle, no such user
        raise DataError(f"{path}: the path {shown(value)} cannot be used: {error.args[-1]}") from None
    return found


def _is_everything(place: Path) -> bool:
    """Whether a folder is a disk's root or the user's home, below which no dataset alone lies."""
    try:
        return place.resolve() in (Path(place.resolve().anchor), Path.home().resolve())
    except (OSError, RuntimeError):  # links in a circle; no home
        return False


def class_names(path: Path, value: Any) -> dict[int, str]:
    """Class names by number, of a list or a mapping."""
    entries = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(entries, dict) or not entries:
        raise DataError(f"{path}: names must be a list of class names, or number: name, not {value!r}")
    if not all(isinstance(number, int) and isinstance(name, str) for number, name in entries.items()):
        raise DataError(f"{path}: names must be a list of class names, or number: name, not {value!r}")
    if len(set(entries.values())) != len(entries):
        raise DataError(f"{path}: two classes in names have the same name")
    return dict(entries)


def _names_or_count(path: Path, content: dict[str, Any]) -> tuple[dict[int, str], list[str]]:
    count = content.get("nc")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise DataError(f"{path}: nc is the number of classes, not {count!r}")
    if "names" not in content:
        names = {number: f"class_{number}" for number in range(count or 0)}
        return names, [f"nc without names: the classes are called {', '.join(list(names.values())[:3])}; add `names:`"]
    names = class_names(path, content["names"])
    if count is not None and count != len(names):
        raise DataError(f"{path}: nc is {count}, but names has {len(names)}: which is right?")
    return names, []


def _check_options(path: Path, options: dict[str, Any]) -> None:
    shape = options.get("kpt_shape")
    good = isinstance(shape, list) and len(shape) == 2 and all(type(side) is int for side in shape)
    if shape is not None and not (good and shape[0] > 0 and shape[1] in (2, 3)):
        raise DataError(f"{path}: kpt_shape is [number of keypoints, 2 or 3], not {shape!r}")
    if options.get("task", "detect") not in _TASKS:
        raise DataError(f"{path}: task must be one of {', '.join(_TASKS)}, not {options['task']!r}")


def _part(path: Path, root: Path, entry: str, notes: list[str]) -> Part:
    images = inside(path, root, entry)
    labels = label_folder(images)
    if not is_there(images):
        # images shared by several label sets lie one level up, next to the folders with the labels
        above = inside(path, root.resolve().parent, entry)
        below = inside(path, root, entry.removeprefix("../"))  # Roboflow writes ../train/images for train/images
        there = next((place for place in (above, below) if is_there(place)), None)
        if there is None:
            there = ending_below(root, entry)  # Windows' backslashes, or a path of the machine it was written on
            note = f"{entry} is not here; {there} is taken"
            if any(text.endswith(f"; {there} is taken") for text in notes):  # what made two paths differ is not here
                there = None
            notes += [] if there is None else [note]
        images = there or images
    return Part(images=images, labels=find_labels(images, root) or (labels if is_folder(labels) else None))


def _holds_images(place: Path | None) -> bool:
    if place is None or not is_folder(place):
        return place is not None and place.suffix == ".txt" and is_ordinary(place)
    return has_images(place)
