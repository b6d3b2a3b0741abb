"""What can name a class; and the files that list YOLO's class names: classes.txt, obj.names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from detzoo.data.formats.values import shown
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_ordinary, lines_of, read_text

_LONGEST: Final = 250
_UNSHOWN: Final = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories: control characters, halves of a character, ends of lines and paragraphs."""


def check_class_names(place: Path | str, names: Iterable[str]) -> None:
    """Reject names that no terminal, table or xml file can hold; a model would carry them for good.

    Args:
        place: where they stand, for the message.
        names: of all classes.

    Raises:
        DataError: a name is empty, too long, or holds a character that cannot be shown.
    """
    for name in names:
        odd = next((letter for letter in name if unicodedata.category(letter) in _UNSHOWN), None)
        if odd is not None:
            problem = f"holds the character {odd!a}"
        elif len(name) > _LONGEST:
            problem = f"has {len(name)} characters, {_LONGEST} are allowed"
        elif not name.strip():
            problem = "is empty"
        else:
            continue
        raise DataError(
            f"{place}: the class name {shown(name)} {problem}: rename the class, or leave it out: `classes:` in a "
            "data.yaml lists those that are read"
        )


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
    lines = [text.strip() for text in lines_of(read_text(path, what="list of class names").rstrip())]
    for line, name in enumerate(lines, start=1):
        if not name:
            raise DataError(f"{path}:{line}: an empty line between class names: which number has the next one?")
        if name in lines[: line - 1]:
            raise DataError(f"{path}:{line}: the class {name!r} is there twice")
    return dict(enumerate(lines))
