"""Files that list YOLO's class names: classes.txt, obj.names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_ordinary, read_text


def listed_names(folder: Path, more: Sequence[Path] = ()) -> dict[int, str]:
    """YOLO's class names by number, of the file that lists them; empty where there is none.

    Args:
        folder: of the data.
        more: folders whose classes.txt is looked at too.

    Raises:
        DataError: two files list different names.
    """
    places = [
        folder / "classes.txt",
        folder / "labels" / "classes.txt",
        folder / "obj.names",
        *folder.glob("*/labels/classes.txt"),
        *(place / "classes.txt" for place in more if place != folder),
    ]
    lists = {path: names_in(path) for path in places if is_ordinary(path)}
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
