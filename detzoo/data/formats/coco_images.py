"""The folder in which the images of a COCO file lie, where nobody has said: found by what is in it, never by luck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.coco_entries import file_name
from detzoo.data.formats.image_names import ImageFolder, Naming, count_found, is_name, is_readable, namings, tells_apart
from detzoo.data.formats.split_names import role_of
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_folder
from detzoo.runtime.images import read_bytes, read_header

_SAMPLED: Final = 50
"""Images that are looked for."""
_COMPARED: Final = 5
"""Images whose sizes and bytes are compared between folders."""


def find_images(path: Path, images: Path | None, entries: Sequence[Any], problems: Problems) -> ImageFolder:
    """The folder near an annotation file that holds most of its images; the file's own where none holds any.

    Where several folders hold the same names, the one whose name says the split of the file is taken, else the only
    one whose images have the annotated sizes. Names that lead nowhere as they are written are read in other ways
    (``detzoo.data.formats.image_names``), which is told.

    Args:
        path: the annotation file.
        images: the folder that the user named.
        entries: its images.
        problems: gets what was guessed.

    Raises:
        DataError: several folders could be meant.
    """
    named = [entry for entry in entries if isinstance(entry, dict) and is_name(file_name(entry))]
    sample = named[:: max(1, len(named) // _SAMPLED)]
    every = {file_name(entry) for entry in named}
    names = [file_name(entry) for entry in sample]
    counts: dict[ImageFolder, int] = {}
    for naming in namings(names):
        if not tells_apart(naming, every):
            continue
        found = _counts(path, images, naming, names)
        if max(found.values(), default=0) > max(counts.values(), default=0):
            counts = found
        if 2 * max(counts.values(), default=0) >= len(sample):
            break
    most = max(counts.values(), default=0)
    if most == 0:
        return ImageFolder(images or path.parent)
    winners = [place for place, count in counts.items() if count == most]
    chosen = winners[0] if len(winners) == 1 else _one_of(path, _different(winners, sample), sample, problems)
    _tell(path, images, chosen, (most, len(sample)), names[0], problems)
    return chosen


def _counts(path: Path, images: Path | None, naming: Naming, names: Sequence[str]) -> dict[ImageFolder, int]:
    """How many of some names each folder near the file holds."""
    counts: dict[ImageFolder, int] = {}
    places = ([images],) if images is not None else (_below(path.parent, path), _below(path.parent.parent, path))
    for folders in places:
        for folder in folders:
            counts[ImageFolder(folder, naming)] = count_found(ImageFolder(folder, naming), names)
        if max(counts.values(), default=0) == len(names):
            break  # what lies farther away belongs to something else
    return counts


def _tell(
    path: Path, images: Path | None, chosen: ImageFolder, count: tuple[int, int], example: str, problems: Problems
) -> None:
    guess = chosen.guess(example)
    if guess is not None:
        problems.warning("guess", path, None, guess)
    if images is not None:
        return
    if 2 * count[0] < count[1]:  # `data check` names each one that is missing
        text = f"{chosen.folder}: only {count[0]} of {count[1]} images looked for are in it"
        problems.warning("guess", path, None, text)
    folder_role, file_role = role_of(chosen.folder.name), role_of(path.stem)
    near = chosen.folder not in (path.parent, path.parent.parent)  # these are called after the dataset, not a split
    if near and {folder_role, file_role} <= {"train", "val", "test"} and folder_role != file_role:
        text = (
            f"the images are taken from {chosen.folder}, the only folder that holds them; "
            "`images:` in a data.yaml decides"
        )
        problems.warning("guess", path, None, text)


def _below(place: Path, path: Path) -> Iterator[Path]:
    """Where images can lie, seen from the folder of the annotation file or from the one above."""
    stem = path.stem.removeprefix("instances_")
    yield from (place / "images" / stem, place / stem, place / "images", place)
    above = place != path.parent and not path.parent.name.lower().startswith(("annotation", "label"))
    for folder in (place / "images",) if above else (place / "images", place):  # beside a dataset lie other datasets
        if is_folder(folder):
            yield from sorted(below for below in folder.iterdir() if is_folder(below) and below.name[:1] != ".")


def _different(places: list[ImageFolder], sample: list[dict[str, Any]]) -> list[ImageFolder]:
    """The folders without those that hold the same bytes as an earlier one."""
    kept: dict[tuple[bytes, ...], ImageFolder] = {}
    for place in places:
        files = [file for file, _ in _files(place, sample)]
        kept.setdefault(tuple(read_bytes(file) for file in files[:_COMPARED]), place)
    return list(kept.values())


def _files(place: ImageFolder, sample: list[dict[str, Any]]) -> list[tuple[Path, dict[str, Any]]]:
    found = [(place.file(file_name(entry)), entry) for entry in sample]
    return [(file, entry) for file, entry in found if file is not None and is_readable(file)]


def _one_of(path: Path, places: list[ImageFolder], sample: list[dict[str, Any]], problems: Problems) -> ImageFolder:
    if len(places) == 1:
        return places[0]
    stem = path.stem.removeprefix("instances_")
    role = role_of(stem)
    called = [place for place in places if place.folder.name == stem]
    called = called or [place for place in places if role is not None and role_of(place.folder.name) == role]
    if len(called) == 1:
        return called[0]
    fitting = [place for place in called or places if _fits(place, sample)]
    if len(fitting) == 1:
        text = (
            f"{fitting[0].folder} is taken for the images: of several folders with these names it alone has the sizes"
        )
        problems.warning("guess", path, None, text)
        return fitting[0]
    raise DataError(
        f"{path}: the images could be those of {' or '.join(str(place.folder) for place in fitting or places)}: say "
        "which in a data.yaml, as `splits: {val: {annotations: FILE, images: FOLDER}}` with `format: coco`"
    )


def _fits(place: ImageFolder, sample: list[dict[str, Any]]) -> bool:
    try:
        return all(
            read_header(file).size == (entry.get("height"), entry.get("width"))
            for file, entry in _files(place, sample)[:_COMPARED]
        )
    except DataError:
        return False
