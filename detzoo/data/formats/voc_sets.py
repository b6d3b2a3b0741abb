"""VOC's split lists: one name per line, held against the xml files that are there."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from detzoo.data.formats.split_names import role_of
from detzoo.runtime.foreign_files import lines_of, read_text

_FLAGS: Final = ("-1", "0", "1")
"""The second column of the lists of one class: absent, difficult, present."""
_LOOKED_AT: Final = 50
"""Lines of a list that decide what it is."""


def image_sets(root: Path, stems: Collection[str]) -> tuple[dict[str, Path], list[str]]:
    """Split lists of a devkit, and what the user should know about those that are not taken as they are.

    Lists stand in ImageSets/Main, in ImageSets, or beside the annotations, where most of their lines must name xml
    files. Lists of one class (``dog_train.txt``, two columns) are not splits.

    Args:
        root: of the devkit.
        stems: names of its xml files.
    """
    places = (root / "ImageSets" / "Main", root / "ImageSets", root)
    place = next((folder for folder in places if next(folder.glob("*.txt"), None) is not None), root)
    lists = {path.stem: path for path in sorted(place.glob("*.txt"))}
    found: dict[str, Path] = {}
    notes, of_a_class = [], []
    for name, path in lists.items():
        lines = [text.strip() for text in lines_of(read_text(path, what="list")) if text.strip()][:_LOOKED_AT]
        fitting = sum(listed_name(text, stems) in stems for text in lines)
        columns = sum(listed_name(text, stems) != text and text.split()[-1] in _FLAGS for text in lines)
        last = name.rpartition("_")[2]
        if place == root and (not lines or 2 * fitting < len(lines)):
            continue  # another text file
        if lines and columns == len(lines) and last != name and (last in lists or role_of(last) is not None):
            of_a_class.append(path.name)
            continue
        found[name] = path
        if columns:
            notes.append(f"{path}: the second column of the list is not read; every line is an image of {name}")
    if of_a_class and not found:
        notes.append(
            f"{place}: only lists of one class ({', '.join(of_a_class[:3])}), none of a split: "
            "all xml files are one split; add a list such as train.txt, one name per line"
        )
    return found, notes


def listed_name(text: str, stems: Collection[str]) -> str:
    """The name in a line of a list: all of it, what stands before a second column, or the stem of a file name.

    Args:
        text: the line; names may hold spaces.
        stems: names of the xml files. Where no reading is among them, the line is taken as it stands, without a flag.
    """
    text = text.strip()
    words = text.rsplit(None, 1)
    for part in dict.fromkeys((text, words[0], text.split()[0])) if text else ():
        path = PurePosixPath(part.replace("\\", "/"))
        for name in (part, path.name, path.stem):
            if name in stems:
                return name
    return words[0] if len(words) == 2 and words[1] in _FLAGS else text
