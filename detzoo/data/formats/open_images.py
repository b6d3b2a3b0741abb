"""Open Images: a csv of boxes in shares of the image, class names in class-descriptions*.csv."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.tool_entries import ToolImage, ToolShape
from detzoo.data.formats.values import as_flag, as_number, shown
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import check_ordinary, lines_of, read_text

COLUMNS: Final = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_BYTES: Final = 8 * 2**30
_HEAD: Final = 4000


def is_open_images(path: Path) -> bool:
    """Whether a csv file has the columns of Open Images' boxes."""
    try:
        check_ordinary(path, limit=_BYTES, what="file of boxes")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except (OSError, DataError):
        return False
    first = re.split(b"[\r\n]", head.replace(b"\0", b""), maxsplit=1)[0]  # NUL: UTF-16
    return set(COLUMNS) <= set(re.sub(rb"^[^\w]+", b"", first).decode("ascii", "replace").split(","))


def parse_open_images(path: Path, problems: Problems, *, lines: bool) -> list[ToolImage]:
    """The images of a file, in the order in which they first appear; one without a box has no row.

    Group boxes (``IsGroupOf``) are crowds.

    Raises:
        DataError: a column is missing, or two files of class names contradict each other.
    """
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise DataError(f"{path}:1: not a file of Open Images' boxes: the column {missing[0]} is missing")
    names = _class_names(path.parent)
    at = {column: header.index(column) for column in header}
    entries: dict[str, ToolImage] = {}
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            problems.error("bad-annotation", path, line, f"{len(row)} columns, not {len(header)}; left out")
            continue
        image = row[at["ImageID"]]
        entry = entries.setdefault(image, ToolImage(path, f"{image}.jpg" if image else None, line=line, relative=True))
        entry.shapes.append(_shape(row, at, names, line))
    return list(entries.values())


def _shape(row: list[str], at: dict[str, int], names: dict[str, str], line: int) -> ToolShape:
    name = names.get(row[at["LabelName"]], row[at["LabelName"]]) if names else row[at["LabelName"]]
    numbers = [as_number(row[at[column]]) for column in ("XMin", "YMin", "XMax", "YMax")]
    good = [number for number in numbers if number is not None and -0.01 <= number <= 1.01]
    if len(good) < 4 or good[2] < good[0] or good[3] < good[1]:
        stated = [row[at[column]] for column in ("XMin", "YMin", "XMax", "YMax")]
        return ToolShape(
            name, line=line, problem=f"the corners must be shares from 0 to 1, in order, not {shown(stated)}"
        )
    group = row[at["IsGroupOf"]] if "IsGroupOf" in at else None
    crowd = False if group == "-1" else as_flag(group)  # -1: nobody has looked
    return ToolShape(name, good, line, crowd=group if crowd is None else crowd)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines_of(read_text(path, limit=_BYTES, what="csv of boxes")))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid csv: {error}") from None


def _class_names(folder: Path) -> dict[str, str]:
    """Names by machine id (/m/01g317), of the csv files that lie there or one folder above."""
    found: dict[str, str] = {}
    places = [path for place in (folder, folder.parent) for path in sorted(place.glob("*class-descriptions*.csv"))]
    for path in places:
        for line, row in _rows(path):
            if len(row) < 2 or row[0] == "LabelName":
                continue
            if found.setdefault(row[0], row[1]) != row[1]:
                raise DataError(f"{path}:{line}: {row[0]} is called {row[1]!r} here and {found[row[0]]!r} elsewhere")
    return found
