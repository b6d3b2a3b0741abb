"""The layouts in which a folder can hold data without a description: COCO, VOC, YOLO, one mask per PNG."""

from __future__ import annotations

import dataclasses
import mmap
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from detzoo.data.formats.json_file import JSON_BYTES
from detzoo.data.formats.mask_folders import find_mask_root
from detzoo.data.formats.paths import has_images
from detzoo.data.formats.source import DataSource, Format, Part
from detzoo.data.formats.tool_layouts import tool_folder
from detzoo.data.formats.voc import annotation_files, find_roots
from detzoo.data.formats.voc_sets import image_sets
from detzoo.data.formats.yolo_layouts import yolo_folder
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import check_ordinary, count_words, is_folder, lines_of, read_text

_COCO_KEYS: Final = (b'"images"', b'"annotations"', b'"categories"')
_OTHER_TASKS: Final = ("panoptic", "captions", "image_info")
"""COCO's own files without boxes, by the beginning of their names."""
_BEFORE_SPLIT: Final = re.compile(r"instances_|lvis_v[\d.]+_")
"""Before the name of the split in those of COCO's and LVIS's files."""
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
        "labelme": tool_folder,  # or another tool's, whichever it finds
    }
    if kind is not None:
        found = finders.get(kind, tool_folder)(folder)
        return found if found is not None and found.format == kind else None
    for find in finders.values():
        source = find(folder)
        if source is not None and source.format in ("voc", "yolo", "masks"):
            passed = [note for place in (folder / "annotations", folder) for note in _json_files(place)[1]]
            return dataclasses.replace(source, notes=(*passed, *source.notes))
        if source is not None:
            return source
    return None


def split_of_json(path: Path) -> str:
    """``train`` for instances_train2017.json and lvis_v1_train.json, else the whole stem."""
    stem = _without_prefix(path)
    if stem == "_annotations.coco":  # Roboflow's, in the folder of the split
        return path.resolve().parent.name
    short = stem.rstrip("0123456789").rstrip("_-")
    return short if short in _SPLITS else stem


def _without_prefix(path: Path) -> str:
    found = _BEFORE_SPLIT.match(path.stem)
    return path.stem if found is None else path.stem[found.end() :]


def coco_folder(folder: Path) -> DataSource | None:
    """COCO files in ``annotations``, in the folder itself, or beside the images of each split, as Roboflow has it.

    Other JSON files are passed over.
    """
    notes: list[str] = []
    for place in (folder / "annotations", folder):
        files, said = _json_files(place)
        notes += said
        if not files:
            continue
        named = {split_of_json(path): path for path in files}
        if len(named) < len(files):  # train2014, or LVIS's, next to train2017: the full names tell them apart
            named = {path.stem.removeprefix("instances_"): path for path in files}
        if find_roots(folder):
            notes.append("COCO json and VOC xml are both here; the json is read (`format: voc` in a data.yaml decides)")
        splits: dict[str, tuple[Part, ...]] = {name: (Part(annotations=path),) for name, path in named.items()}
        return _source(folder, "coco", splits, notes=notes)
    splits, notes = _coco_of_each_split(folder)
    return _source(folder, "coco", splits, notes=notes) if splits else None


def _coco_of_each_split(folder: Path) -> tuple[dict[str, tuple[Part, ...]], list[str]]:
    splits: dict[str, tuple[Part, ...]] = {}
    notes: list[str] = []
    for place in sorted(path for path in folder.iterdir() if is_folder(path)):
        files, said = _json_files(place)
        if len(files) == 1 and has_images(place):
            splits[place.name] = (Part(annotations=files[0], images=place),)
            notes += said
    return splits, notes


def _json_files(place: Path) -> tuple[list[Path], list[str]]:
    """The COCO files of a folder, and what is said of its other JSON files."""
    found = [path for path in sorted(place.glob("*.json")) if not _without_prefix(path).startswith(_OTHER_TASKS)]
    files = [path for path in found if is_coco(path)]
    return files, [f"{path.name} is passed over: no COCO file of boxes" for path in found if path not in files]


def is_coco(path: Path) -> bool:
    """Whether a JSON file has two of COCO's three lists: one that lacks the third is damaged rather than another's."""
    try:
        check_ordinary(path, limit=JSON_BYTES, what="annotation file")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return count_words(text, _COCO_KEYS) >= 2
    except ValueError:  # an empty file cannot be mapped
        return False
    except (OSError, DataError):
        return path.stem in _SPLITS or path.stem.startswith("instances_")  # its reader says what is wrong with it


def voc_folder(folder: Path) -> DataSource | None:
    """VOC xml files with images: one root or several, with lists of the splits or without."""
    roots = find_roots(folder)
    if not roots and is_folder(folder / "images"):
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
        return {text.strip() for text in lines_of(read_text(path, what="list"))}
    except DataError:  # a text file that is no list of ours
        return set()


def _source(
    folder: Path,
    kind: Format,
    splits: dict[str, tuple[Part, ...]],
    *,
    notes: list[str],
) -> DataSource:
    return DataSource(str(folder), folder.resolve().name, kind, folder, splits, notes=tuple(notes))
