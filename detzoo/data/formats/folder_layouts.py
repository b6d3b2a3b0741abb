"""The layouts in which a folder can hold data without a description: COCO, VOC, YOLO, one mask per PNG."""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from detzoo.data.formats.json_file import JSON_BYTES
from detzoo.data.formats.mask_folders import find_mask_root
from detzoo.data.formats.paths import has_images, image_files
from detzoo.data.formats.source import DataSource, Format, Part
from detzoo.data.formats.voc import annotation_files, find_roots
from detzoo.data.formats.voc_sets import image_sets
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import check_ordinary, read_text

_COCO_KEYS: Final = (b'"images"', b'"annotations"', b'"categories"')
_OTHER_TASKS: Final = ("panoptic", "captions", "image_info")
"""COCO's own files without boxes, by the beginning of their names."""
_SPLITS: Final = ("train", "val", "test", "minival", "trainval")


def find_layout(folder: Path, kind: Format | None = None, *, classes: Sequence[str] = ()) -> DataSource | None:
    """What a folder holds, or None.

    Args:
        folder: that is looked at.
        kind: look for this format alone.
        classes: names of YOLO's classes where no file lists them.

    Raises:
        DataError: a layout is there, and something that it needs is not.
    """
    finders: dict[Format, Callable[[Path], DataSource | None]] = {
        "coco": coco_folder,
        "voc": voc_folder,
        "yolo": lambda place: yolo_folder(place, classes=classes),
        "masks": mask_folder,
    }
    if kind is not None:
        return finders[kind](folder) if kind in finders else None
    for find in finders.values():
        source = find(folder)
        if source is not None and source.format != "coco":
            passed = [note for place in (folder / "annotations", folder) for note in _json_files(place)[1]]
            return dataclasses.replace(source, notes=(*passed, *source.notes))
        if source is not None:
            return source
    return None


def split_of_json(path: Path) -> str:
    """``train`` for instances_train2017.json, else the whole stem."""
    stem = path.stem.removeprefix("instances_")
    short = stem.rstrip("0123456789").rstrip("_-")
    return short if short in _SPLITS else stem


def coco_folder(folder: Path) -> DataSource | None:
    """COCO files in ``annotations`` or in the folder itself; other JSON files are passed over."""
    notes: list[str] = []
    for place in (folder / "annotations", folder):
        files, said = _json_files(place)
        notes += said
        if not files:
            continue
        named = {split_of_json(path): path for path in files}
        if len(named) < len(files):  # train2014 next to train2017: the full names tell them apart
            named = {path.stem.removeprefix("instances_"): path for path in files}
        if find_roots(folder):
            notes.append("COCO json and VOC xml are both here; the json is read (`format: voc` in a data.yaml decides)")
        splits: dict[str, tuple[Part, ...]] = {name: (Part(annotations=path),) for name, path in named.items()}
        return _source(folder, "coco", splits, notes=notes)
    return None


def _json_files(place: Path) -> tuple[list[Path], list[str]]:
    """The COCO files of a folder, and what is said of its other JSON files."""
    found = [path for path in sorted(place.glob("*.json")) if not path.stem.startswith(_OTHER_TASKS)]
    files = [path for path in found if is_coco(path)]
    return files, [f"{path.name} is passed over: no COCO file of boxes" for path in found if path not in files]


def is_coco(path: Path) -> bool:
    """Whether a JSON file has two of COCO's three lists: one that lacks the third is damaged rather than another's."""
    try:
        check_ordinary(path, limit=JSON_BYTES, what="annotation file")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            wide = text[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16: its reader looks closer
            return wide or sum(text.find(key) >= 0 for key in _COCO_KEYS) >= 2
    except ValueError:  # an empty file cannot be mapped
        return False
    except (OSError, DataError):
        return path.stem in _SPLITS or path.stem.startswith("instances_")  # its reader says what is wrong with it


def voc_folder(folder: Path) -> DataSource | None:
    """VOC xml files with images: one root or several, with lists of the splits or without."""
    roots = find_roots(folder)
    if not roots and (folder / "images").is_dir():
        roots = find_roots(folder / "images")
    if not roots:
        return None
    splits: dict[str, tuple[Part, ...]] = {}
    notes: list[str] = []
    for root in roots:
        lists, said = image_sets(root, annotation_files(root))
        notes += said
        for name, listed in lists.items():
            splits[name] = (*splits.get(name, ()), Part(root=root, listed=listed))
    if not splits and len(roots) > 1:
        splits = {root.name: (Part(root=root),) for root in roots}
    return _source(folder, "voc", splits or {"all": (Part(root=roots[0]),)}, notes=notes)


def yolo_folder(folder: Path, names: dict[int, str] | None = None, *, classes: Sequence[str] = ()) -> DataSource | None:
    """``images`` next to ``labels``, or both in the folder of each split.

    Args:
        folder: that is looked at.
        names: of the classes by number; those of a file such as classes.txt by default.
        classes: names in the order of their numbers, where there is no such file either.
    """
    images, labels = folder / "images", folder / "labels"
    if images.is_dir() and labels.is_dir():
        below = [path.name for path in sorted(images.iterdir()) if path.is_dir() and has_images(path)]
        parts: dict[str, tuple[Part, ...]] = {
            name: (Part(images=images / name, labels=labels / name),) for name in below
        }
    else:
        inside = [
            path for path in sorted(folder.iterdir()) if (path / "images").is_dir() and (path / "labels").is_dir()
        ]
        parts = {path.name: (Part(images=path / "images", labels=path / "labels"),) for path in inside}
        if not parts or find_mask_root(folder) is not None:
            return None
    loose = sum(map(len, image_files(images).values())) if images.is_dir() else 0
    notes = []
    if loose and any((labels / name).is_dir() for name in parts):
        notes.append(f"{loose} images lie in {images} itself and belong to no split ({', '.join(parts)}); not read")
    elif loose or not parts:
        parts = {"all": (Part(images=images, labels=labels),)}
    names = names or listed_names(folder) or dict(enumerate(classes))
    if not names:
        raise DataError(
            f"{folder}: YOLO labels without class names: "
            "add a data.yaml with `names:`, or a classes.txt with one name per line"
        )
    return _source(folder, "yolo", parts, names=names, notes=notes)


def listed_names(folder: Path) -> dict[int, str]:
    """YOLO's class names by number, of the file that lists them; empty where there is none.

    Raises:
        DataError: two files list different names.
    """
    places = [
        folder / "classes.txt",
        folder / "labels" / "classes.txt",
        folder / "obj.names",
        *folder.glob("*/labels/classes.txt"),
    ]
    lists = {path: names_in(path) for path in places if path.is_file()}
    if not lists:
        return {}
    first, *others = lists
    for other in others:
        if lists[other] != lists[first]:
            raise DataError(f"{first} and {other} name different classes: remove one, or write `names:` in a data.yaml")
    return lists[first]


def names_in(path: Path) -> dict[int, str]:
    """Class names by number, one per line.

    Raises:
        DataError: a line between two names is empty, so that the numbers are in doubt; or a name stands twice.
    """
    lines = [text.strip() for text in read_text(path, what="list of class names").rstrip().splitlines()]
    for line, name in enumerate(lines, start=1):
        if not name:
            raise DataError(f"{path}:{line}: an empty line between class names: which number has the next one?")
        if name in lines[: line - 1]:
            raise DataError(f"{path}:{line}: the class {name!r} is there twice")
    return dict(enumerate(lines))


def mask_folder(folder: Path) -> DataSource | None:
    """One folder per image, with a PNG per mask; text files that name them are splits."""
    root = find_mask_root(folder)
    if root is None:
        return None
    lists = {path.stem: path for place in {folder, root} for path in sorted(place.glob("*.txt"))}
    ids = {path.name for path in root.iterdir()}
    splits: dict[str, tuple[Part, ...]] = {}
    notes: list[str] = []
    for name, path in sorted(lists.items()):
        lines = _lines_of(path)
        if lines & ids:
            splits[name] = (Part(root=root, listed=path),)
        else:
            notes.append(f"{path.name} is passed over: it names no image folder of {root}")
    return _source(folder, "masks", splits or {"all": (Part(root=root),)}, notes=notes)


def _lines_of(path: Path) -> set[str]:
    try:
        return {text.strip() for text in read_text(path, what="list").splitlines()}
    except DataError:  # a text file that is no list of ours
        return set()


def _source(
    folder: Path,
    kind: Format,
    splits: dict[str, tuple[Part, ...]],
    *,
    names: dict[int, str] | None = None,
    notes: list[str],
) -> DataSource:
    return DataSource(str(folder), folder.resolve().name, kind, folder, splits, names=names or {}, notes=tuple(notes))
