"""The folder in which the images of a COCO file lie, where nobody has said: found by what is in it, never by luck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.coco_entries import is_name
from detzoo.data.formats.paths import escapes
from detzoo.data.formats.split_names import role_of
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.images import read_bytes, read_header

_SAMPLED: Final = 50
"""Images that are looked for."""
_COMPARED: Final = 5
"""Images whose sizes and bytes are compared between folders."""


def find_images(path: Path, entries: Sequence[Any], problems: Problems) -> Path:
    """The folder near an annotation file that holds most of its images; the file's own where none holds any.

    Where several folders hold the same names, the one whose name says the split of the file is taken, else the only
    one whose images have the annotated sizes.

    Args:
        path: the annotation file.
        entries: its images.
        problems: gets what was guessed.

    Raises:
        DataError: several folders could be meant.
    """
    step = max(1, len(entries) // _SAMPLED)
    sample = [entry for entry in entries[::step] if isinstance(entry, dict) and _is_named(entry)]
    counts: dict[Path, int] = {}
    for folders in (_below(path.parent, path), _below(path.parent.parent, path)):
        counts |= {folder: sum(is_ordinary(folder / entry["file_name"]) for entry in sample) for folder in folders}
        most = max(counts.values(), default=0)
        if most == len(sample):
            break  # what lies farther away belongs to something else
    if most == 0:
        return path.parent
    winners = [folder for folder, count in counts.items() if count == most]
    chosen = winners[0] if len(winners) == 1 else _one_of(path, _different(winners, sample), sample, problems)
    if 2 * most < len(sample):  # `data check` names each one that is missing
        problems.warning("guess", path, None, f"{chosen}: only {most} of {len(sample)} images looked for are in it")
    folder_role, file_role = role_of(chosen.name), role_of(path.stem)
    near = chosen not in (path.parent, path.parent.parent)  # these are called after the dataset, not after a split
    if near and {folder_role, file_role} <= {"train", "val", "test"} and folder_role != file_role:
        text = f"the images are taken from {chosen}, the only folder that holds them; `images:` in a data.yaml decides"
        problems.warning("guess", path, None, text)
    return chosen


def _is_named(entry: dict[str, Any]) -> bool:
    return is_name(entry.get("file_name")) and not escapes(entry["file_name"])


def _below(place: Path, path: Path) -> Iterator[Path]:
    """Where images can lie, seen from the folder of the annotation file or from the one above."""
    stem = path.stem.removeprefix("instances_")
    yield from (place / "images" / stem, place / stem, place / "images", place)
    above = place != path.parent and not path.parent.name.lower().startswith(("annotation", "label"))
    for folder in (place / "images",) if above else (place / "images", place):  # beside a dataset lie other datasets
        if folder.is_dir():
            yield from sorted(below for below in folder.iterdir() if below.is_dir() and below.name[:1] != ".")


def _different(folders: list[Path], sample: list[dict[str, Any]]) -> list[Path]:
    """The folders without those that hold the same bytes as an earlier one."""
    kept: dict[tuple[bytes, ...], Path] = {}
    for folder in folders:
        files = [file for entry in sample if is_ordinary(file := folder / entry["file_name"])]
        kept.setdefault(tuple(read_bytes(file) for file in files[:_COMPARED]), folder)
    return list(kept.values())


def _one_of(path: Path, folders: list[Path], sample: list[dict[str, Any]], problems: Problems) -> Path:
    if len(folders) == 1:
        return folders[0]
    stem = path.stem.removeprefix("instances_")
    role = role_of(stem)
    called = [folder for folder in folders if folder.name == stem]
    called = called or [folder for folder in folders if role is not None and role_of(folder.name) == role]
    if len(called) == 1:
        return called[0]
    fitting = [folder for folder in called or folders if _fits(folder, sample)]
    if len(fitting) == 1:
        text = f"{fitting[0]} is taken for the images: of several folders with these names it alone has the sizes"
        problems.warning("guess", path, None, text)
        return fitting[0]
    raise DataError(
        f"{path}: the images could be those of {' or '.join(map(str, fitting or folders))}: say which in a "
        "data.yaml, as `splits: {val: {annotations: FILE, images: FOLDER}}` with `format: coco`"
    )


def _fits(folder: Path, sample: list[dict[str, Any]]) -> bool:
    files = [(folder / entry["file_name"], entry) for entry in sample if is_ordinary(folder / entry["file_name"])]
    try:
        return all(
            read_header(file).size == (entry.get("height"), entry.get("width")) for file, entry in files[:_COMPARED]
        )
    except DataError:
        return False
