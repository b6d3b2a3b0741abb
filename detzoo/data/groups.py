r"""Groups of images that are not independent: frames of one video, tiles of one scene, photographs of one patient.

What says which image belongs to which group is one text, as ``groups:`` of a data.yaml and ``--groups`` take it:
``folder`` (an image's group is the folder that it lies in), the path of a ``.csv`` with the columns ``image`` and
``group``, or a regular expression with one part in brackets, which is looked for in the file name: of ``(.+)_\d+``
in ``video3_0017.jpg`` the group is ``video3``.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from detzoo.data.dataset import Dataset
from detzoo.data.formats.values import shown
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import lines_of, read_text

FOLDER: Final = "folder"
NONE: Final = "none"
"""On a command line: each image stands for itself, whatever the data.yaml says."""
ALLOWED: Final = (
    "`folder`, a .csv file with the columns image and group, or a regular expression for the file name with one part "
    r"in brackets, as '(.+)_\d+'"
)


def group_names(text: Any, paths: Sequence[str], *, base: Path, place: str) -> tuple[str, ...]:
    """The group of each image.

    Args:
        text: which image belongs to which group, see the top of this file.
        paths: of the images.
        base: what the path of a ``.csv`` is relative to.
        place: where the text stands, for messages.

    Raises:
        DataError: the text is none of the three, a table is damaged or ambiguous, or an image has no group.
    """
    if not isinstance(text, str) or not text:
        raise DataError(f"{place}: groups is {shown(text)}; allowed: {ALLOWED}")
    if text == FOLDER:
        return tuple(str(PurePath(path).parent) for path in paths)
    if text.lower().endswith(".csv"):
        table = (base / Path(text).expanduser()).absolute()
        return _complete(_by_table(table, paths), paths, f"{place}: groups: {table} has no row for")
    pattern = _pattern(text, place)
    matches = [pattern.search(PurePath(path).name) for path in paths]
    found = [match.group(1) if match else None for match in matches]
    return _complete(found, paths, f"{place}: groups: '{text}' does not fit the names of")


def _pattern(text: str, place: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(
            f"{place}: groups: {shown(text)} is no regular expression ({error}); allowed: {ALLOWED}"
        ) from None
    if pattern.groups != 1:
        raise DataError(
            f"{place}: groups: {shown(text)} has {pattern.groups} parts in brackets, not one; allowed: {ALLOWED}"
        )
    return pattern


def _complete(found: Sequence[str | None], paths: Sequence[str], without: str) -> tuple[str, ...]:
    """The groups, once every image has one."""
    missing = [path for path, group in zip(paths, found, strict=True) if group is None]
    if missing:
        raise DataError(
            f"{without} {len(missing)} of {len(paths)} images (the first: {missing[0]}); every image needs a group"
        )
    return tuple(group for group in found if group is not None)


def _by_table(table: Path, paths: Sequence[str]) -> list[str | None]:
    """The group of each image by the rows of a table; None without a row."""
    rows = _rows(table)
    parts = [PurePath(path).parts for path in paths]
    lengths = {len(name) for name in rows}
    found: list[str | None] = []
    taken: dict[tuple[str, ...], str] = {}
    for path, own in zip(paths, parts, strict=True):
        names = [own[-length:] for length in sorted(lengths, reverse=True) if own[-length:] in rows]
        if names and taken.setdefault(names[0], path) != path:
            raise DataError(
                f"{table}: {'/'.join(names[0])} is the end of two images, {taken[names[0]]} and {path}; write more of "
                "the path, as folder/name.jpg"
            )
        found.append(rows[names[0]] if names else None)
    return found


def _rows(table: Path) -> dict[tuple[str, ...], str]:
    """Last parts of an image's path -> its group."""
    lines = lines_of(read_text(table, what="table of groups"))
    rows = csv.reader(lines, strict=True)
    found: dict[tuple[str, ...], str] = {}
    try:
        head = [cell.strip() for cell in next(rows, [])]
        if sorted(head) != ["group", "image"]:
            raise DataError(f"{table}:1: the first line must be `image,group`, not {shown(','.join(head))}")
        for row in filter(None, rows):
            cells = [cell.strip() for cell in row]
            if len(cells) != len(head) or not all(cells):
                raise DataError(
                    f"{table}:{rows.line_num}: a row has an image and its group, not {shown(','.join(row))}"
                )
            image, group = cells[head.index("image")], cells[head.index("group")]
            if found.setdefault(PurePath(image).parts, group) != group:
                raise DataError(f"{table}:{rows.line_num}: {shown(image)} stands in two groups")
    except csv.Error as error:
        raise DataError(f"{table}:{rows.line_num}: not valid CSV: {error}") from None
    return found


def regrouped(dataset: Dataset, text: str | None) -> Dataset:
    """A dataset with its images in the groups of ``--groups``; ``none`` leaves each to itself, None leaves all as is.

    Raises:
        DataError: see ``group_names``.
    """
    if text is None:
        return dataset
    return dataset.grouped(None if text == NONE else group_names(text, dataset.paths, base=Path(), place="--groups"))


def groups_line(groups: Sequence[str]) -> str:
    """How many there are, and the largest."""
    largest, most = Counter(groups).most_common(1)[0] if groups else ("", 0)
    number = len(set(groups))
    if number == len(groups):
        return f"{number} groups: every image is one of its own"
    return f"{number} group{'s' if number > 1 else ''} of images, the largest of {most} ({largest})"
