"""The layouts of annotation tools with a format of their own: labelme, VIA, CVAT's xml, Open Images."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats import labelme, via
from detzoo.data.formats.cvat_xml import cvat_subsets, is_cvat, parse_cvat
from detzoo.data.formats.index import Index
from detzoo.data.formats.json_file import JSON_BYTES
from detzoo.data.formats.labelme import parse_labelme
from detzoo.data.formats.open_images import is_open_images, parse_open_images
from detzoo.data.formats.paths import escapes
from detzoo.data.formats.source import DataSource, Format, Part
from detzoo.data.formats.split_names import role_of
from detzoo.data.formats.tool_entries import ToolImage, class_names_of, to_index
from detzoo.data.formats.via import parse_via
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import check_ordinary, count_words, files_in, is_folder, is_there
from detzoo.schema.describing import unknown

PARSERS: Final[dict[str, Callable[..., list[ToolImage]]]] = {
    "labelme": parse_labelme,
    "via": parse_via,
    "cvat": parse_cvat,
    "openimages": parse_open_images,
}


def tool_format(path: Path) -> Format | None:
    """The tool that wrote a file, by what is in it."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return "labelme" if _holds(path, labelme.KEYS) else "via" if _holds(path, via.KEYS) else None
    if suffix == ".xml":
        return "cvat" if is_cvat(path) else None
    return "openimages" if suffix == ".csv" and is_open_images(path) else None


def tool_folder(folder: Path) -> DataSource | None:
    """Files of one of these tools in a folder, in the folder of each split, or in ``annotations``."""
    below = [path for path in sorted(folder.iterdir()) if is_folder(path) and path.name[:1] != "."]
    for places in ([folder], below):
        found = {place: _kind_in(place) for place in places}
        splits: dict[str, tuple[Part, ...]] = {}
        kinds = {kind[0] for kind in found.values() if kind is not None}
        for place, kind in found.items():
            if kind is None:
                continue
            name = "all" if place == folder or place.name.lower() == "annotations" else place.name
            if kind[0] == "labelme":
                splits[name] = (Part(annotations=place),)
                continue
            for path in kind[1]:
                for split, part in _parts_of(path, kind[0], name, len(kind[1])).items():
                    splits[split] = (*splits.get(split, ()), part)
        if len(kinds) > 1:
            raise DataError(f"{folder}: files of several tools ({', '.join(sorted(kinds))}): name one of them")
        if splits:
            return DataSource(str(folder), folder.resolve().name, kinds.pop(), folder, splits)
    return None


def tool_file(path: Path, kind: Format) -> DataSource:
    """The source of one file."""
    splits = {split: (part,) for split, part in _parts_of(path, kind, "all", 1).items()}
    return DataSource(str(path), path.stem, kind, path.parent, splits)


def _parts_of(path: Path, kind: Format, place: str, count: int) -> dict[str, Part]:
    """The splits of a file: the subsets that CVAT states for its images, or one that its name says."""
    subsets = cvat_subsets(path) if kind == "cvat" and _holds(path, (b"subset",)) else ()
    if subsets:
        return {subset: Part(annotations=path, subset=subset) for subset in subsets}
    return {_split_of(path, place, count): Part(annotations=path)}


def _split_of(path: Path, place: str, count: int) -> str:
    """``train`` for train-annotations-bbox.csv, the folder's name for the only file there, else the stem."""
    role = role_of(path.stem)
    if role is not None:
        words = path.stem.replace("_", "-").split("-")
        return next((word for word in words if role_of(word) == role), path.stem)
    return place if count == 1 else path.stem


def _kind_in(folder: Path) -> tuple[Format, list[Path]] | None:
    """The tool whose files lie in a folder, and these files."""
    found: dict[Format, list[Path]] = {}
    for path in files_in(folder):
        kind = tool_format(path) if path.suffix.lower() in (".json", ".xml", ".csv") else None
        if kind is not None:
            found.setdefault(kind, []).append(path)
            if kind == "labelme":  # one per image: the first says it
                break
    if len(found) > 1:
        raise DataError(f"{folder}: files of several tools ({', '.join(sorted(found))}): name one of them")
    return next(iter(found.items()), None)


def _holds(path: Path, keys: Sequence[bytes]) -> bool:
    try:
        check_ordinary(path, limit=JSON_BYTES, what="annotation file")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return count_words(text, keys) == len(keys)
    except (OSError, ValueError, DataError):  # ValueError: an empty file cannot be mapped
        return False


def read_tool_parts(
    source: DataSource, parts: Sequence[Part], problems: Problems, lines: bool
) -> tuple[list[Index], tuple[str, ...], tuple[int, ...]]:
    """Indexes of the parts, class names and ids by label; the files of all splits are read for the names."""
    parse = PARSERS[source.format]
    entries: dict[Path, list[ToolImage]] = {}
    names: set[str] = set()
    wanted = {part.annotations for part in parts}
    everywhere = (part.annotations for split in source.splits.values() for part in split)
    for file in dict.fromkeys((*(part.annotations for part in parts), *everywhere)):
        assert file is not None
        if file in wanted or (source.classes is None and is_there(file)):
            heard = problems if file in wanted else Problems()
            entries[file] = parse(file, heard, lines=lines and file in wanted)
            names |= set(class_names_of(entries[file]))
    classes = source.classes or tuple(sorted(names))
    strange = [name for name in classes if name not in names]
    if strange and source.classes is not None:
        raise DataError(f"{source.place}: {unknown('class', strange[0], names)}")
    indexes = []
    for part in parts:
        file = part.annotations
        assert file is not None
        chosen = _of(_of_subset(entries[file], part, file), classes, source)
        indexes.append(to_index(chosen, _folders(part, file, source), problems, classes=classes))
    return indexes, classes, tuple(range(1, len(classes) + 1))


def _folders(part: Part, file: Path, source: DataSource) -> list[Path]:
    """Where the images of a part may lie, the likeliest first."""
    if part.images is not None:
        return [part.images]
    own = file if is_folder(file) else file.parent
    near = [own / "images", own, own.parent / "images", own.parent, own / file.stem]
    split = next((name for name, held in source.splits.items() if part in held), "")
    for called in dict.fromkeys((part.subset or split, split)):
        if not escapes(called):  # a file's own word
            near += [place / called for place in (own, own.parent, own / "images", own.parent / "images")]
    return [place for place in near if os.path.isdir(place)]  # False for a name that is too long


def _of_subset(entries: list[ToolImage], part: Part, file: Path) -> list[ToolImage]:
    """The images of a part.

    Raises:
        DataError: the file has none of its subset.
    """
    if part.subset is None:
        return entries
    found = [entry for entry in entries if entry.subset == part.subset]
    if not found:
        known = dict.fromkeys(entry.subset for entry in entries if entry.subset)
        raise DataError(f"{file}: no image is of the subset {part.subset!r}; there are {', '.join(known) or 'none'}")
    return found


def _of(entries: list[ToolImage], classes: tuple[str, ...], source: DataSource) -> list[ToolImage]:
    """The entries without the shapes of classes that the user chose not to read."""
    if source.classes is None:
        return entries
    for entry in entries:
        entry.shapes[:] = [
            shape
            for shape in entry.shapes
            if shape.problem is not None or not isinstance(shape.name, str) or shape.name in classes
        ]
    return entries
