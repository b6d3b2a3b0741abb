"""The layouts in which a folder can hold YOLO data without a data.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from detzoo.data.formats.class_lists import listed_names, names_in
from detzoo.data.formats.image_names import ending_below
from detzoo.data.formats.mask_folders import find_mask_root
from detzoo.data.formats.paths import has_images, image_files
from detzoo.data.formats.source import DataSource, Part
from detzoo.data.formats.split_names import role_of
from detzoo.data.formats.values import as_number
from detzoo.data.formats.yolo_labels import NO_LABELS
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import files_in, is_folder, lines_of, read_text

_NO_NAMES: Final = (
    "{folder}: YOLO labels without class names: add a data.yaml with `names:`, or a classes.txt with one name per line"
)


def yolo_folder(folder: Path, names: dict[int, str] | None = None, *, classes: Sequence[str] = ()) -> DataSource | None:
    """YOLO data in one of three layouts: darknet's lists, ``images`` next to ``labels``, label files beside images.

    Args:
        folder: that is looked at.
        names: of the classes by number; those of a file such as classes.txt by default.
        classes: names in the order of their numbers, where there is no such file either.

    Raises:
        DataError: the classes have no names, or two files give them different ones.
    """
    described = darknet_folder(folder) if names is None else None
    return described or _folders(folder, names, classes) or _beside_folder(folder, names, classes)


def _folders(folder: Path, names: dict[int, str] | None, classes: Sequence[str]) -> DataSource | None:
    """``images`` next to ``labels``, or both in the folder of each split."""
    images, labels = folder / "images", folder / "labels"
    if is_folder(images) and is_folder(labels):
        below = [path.name for path in sorted(images.iterdir()) if is_folder(path) and has_images(path)]
        parts: dict[str, tuple[Part, ...]] = {
            name: (Part(images=images / name, labels=labels / name),) for name in below
        }
    else:
        inside = [
            path for path in sorted(folder.iterdir()) if is_folder(path / "images") and is_folder(path / "labels")
        ]
        parts = {path.name: (Part(images=path / "images", labels=path / "labels"),) for path in inside}
        if not parts or find_mask_root(folder) is not None:
            return None
    loose = sum(map(len, image_files(images).values())) if is_folder(images) else 0
    notes = []
    if loose and any(is_folder(labels / name) for name in parts):
        notes.append(f"{loose} images lie in {images} itself and belong to no split ({', '.join(parts)}); not read")
    elif loose or not parts:
        parts = {"all": (Part(images=images, labels=labels),)}
    names = names or listed_names(folder) or dict(enumerate(classes))
    if not names:
        raise DataError(_NO_NAMES.format(folder=folder))
    return DataSource(str(folder), folder.resolve().name, "yolo", folder, parts, names=names, notes=tuple(notes))


def darknet_folder(folder: Path) -> DataSource | None:
    """Darknet's ``obj.data``, which CVAT's YOLO 1.1 writes: lists of images, a list of names, labels beside images.

    Raises:
        DataError: a file that it names is not there.
    """
    found = [path for path in files_in(folder) if path.suffix == ".data"]
    described = {path: pairs for path in found if "names" in (pairs := _pairs(path)) and any(map(role_of, pairs))}
    if not described:
        return None
    if len(described) > 1:
        several = ", ".join(path.name for path in described)
        raise DataError(f"{folder}: several files describe data ({several}): keep one of them")
    path, pairs = next(iter(described.items()))
    splits: dict[str, tuple[Part, ...]] = {}
    notes = []
    for key, value in pairs.items():
        if role_of(key) is None:
            continue
        listed = ending_below(folder, value)
        if listed is None:
            notes.append(f"{path.name}: {key} = {value} is not here; the split is left out")
        else:
            splits[key] = (Part(images=listed),)
    listing = ending_below(folder, pairs["names"])
    if listing is None or not splits:
        raise DataError(f"{path}: {pairs['names'] if listing is None else 'no list of images'} is not here")
    names = names_in(listing)
    if pairs.get("classes", str(len(names))) != str(len(names)):
        raise DataError(f"{path}: classes is {pairs['classes']}, but {listing.name} has {len(names)}: which is right?")
    return DataSource(str(folder), folder.resolve().name, "yolo", folder, splits, names=names, notes=tuple(notes))


def _pairs(path: Path) -> dict[str, str]:
    """``key = value`` per line; empty for a file of another kind."""
    try:
        lines = [text.split("#")[0].strip() for text in lines_of(read_text(path, what="darknet data file"))]
    except DataError:
        return {}
    pairs = [line.partition("=") for line in lines if line]
    return {key.strip(): value.strip() for key, _, value in pairs} if all(sign for _, sign, _ in pairs) else {}


def _beside_folder(folder: Path, names: dict[int, str] | None, classes: Sequence[str]) -> DataSource | None:
    """Label files beside their images, as LabelImg writes them: in the folder, or in the folder of each split."""
    places = [folder] if _labels_beside(folder) else []
    if not places:
        places = [path for path in sorted(folder.iterdir()) if is_folder(path) and _labels_beside(path)]
    if not places:
        return None
    names = names or listed_names(folder, places) or dict(enumerate(classes))
    if not names:
        raise DataError(_NO_NAMES.format(folder=folder))
    parts = {"all" if place == folder else place.name: (Part(images=place, labels=place),) for place in places}
    return DataSource(str(folder), folder.resolve().name, "yolo", folder, parts, names=names)


def _labels_beside(folder: Path) -> bool:
    """Whether a folder holds images, and text files that are called like them and begin with a line of numbers."""
    images = image_files(folder)
    texts = [path for path in files_in(folder) if path.suffix == ".txt" and path.stem in images] if images else []
    return any(_is_label(path) for path in texts if path.name not in NO_LABELS)


def _is_label(path: Path) -> bool:
    try:
        words = read_text(path, what="label file").split("\n", 1)[0].split()
    except DataError:
        return False
    return len(words) >= 5 and words[0].isdigit() and all(as_number(word) is not None for word in words)
