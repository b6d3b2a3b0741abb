"""COCO instances JSON, LVIS's among them -> index."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.coco_entries import CocoEntries, file_name
from detzoo.data.formats.coco_images import find_images
from detzoo.data.formats.federated import is_federated
from detzoo.data.formats.index import Index, IndexBuilder
from detzoo.data.formats.json_file import EntryLines, JsonFile, read_json
from detzoo.data.formats.lvis import LvisFacts
from detzoo.data.formats.values import as_id, is_numeric_id, shown
from detzoo.errors import DataError

_NOTHING_ABOVE: Final = (None, "", "none", "None")
"""What stands for the supercategory of a category that has none."""


def read_coco(
    path: Path, images: Path | None, problems: Problems, *, classes: tuple[str, ...] | None = None, lines: bool = False
) -> tuple[Index, tuple[str, ...], tuple[int, ...]]:
    """Read an annotation file.

    Args:
        path: the JSON file.
        images: folder that ``file_name`` is relative to; looked for next to the file by default.
        problems: gets every defect.
        classes: use only these, in this order; all categories by id otherwise.
        lines: find the line of each defect, at the price of a second reading.

    Returns:
        index, class names and category ids by label.

    Raises:
        DataError: the file as a whole is unusable.
    """
    file = _load(path)
    content = file.content
    reader = CocoEntries(file, problems, EntryLines(file.text) if lines else None)
    reader.check_keys()
    found = _without_roots(_categories(content, path), content, path, classes, problems)
    names, ids = _chosen(found, path, classes)
    label_of: dict[int | str, int | None] = dict.fromkeys(found)  # None: a category that the user chose not to read
    label_of |= {own: label for label, own in enumerate(ids)}
    reader.check_categories(sorted(found))
    reader.check_units()
    place = find_images(path, images, content["images"], problems)
    groups = reader.group()
    builder = IndexBuilder()
    looked_for = LvisFacts(path, problems, reader.line, label_of) if is_federated(content["images"]) else None
    for row, entry in enumerate(content["images"]):
        own = reader.image(builder, row, entry, place)
        if own is None:
            continue
        if looked_for is not None:
            looked_for.image(row, entry)
        rows = groups.get(own, [])
        if not rows:
            problems.info("no-objects", path, reader.line("images", row), f"{file_name(entry)} has no objects")
        reader.annotations(builder, rows, label_of)
    reader.tell_text_ids()
    index = builder.build()
    if looked_for is not None:
        index = replace(index, federated=looked_for.build(content["categories"], len(names)))
    return index, names, ids


def _load(path: Path) -> JsonFile:
    file = read_json(path)
    for key in ("images", "annotations", "categories"):
        if not isinstance(file.content, dict) or not isinstance(file.content.get(key), list):
            raise DataError(
                f"{path}: not a COCO instances file: the list `{key}` is missing "
                "(needed: images, annotations, categories)"
            )
    return file


def _categories(content: dict[str, Any], path: Path) -> dict[int, str]:
    """Names by id."""
    found: dict[int, str] = {}
    for entry in content["categories"]:
        own, name = (as_id(entry.get("id")), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if not isinstance(own, int) or not is_numeric_id(own) or not isinstance(name, str):
            raise DataError(f"{path}: a category needs a whole number `id` and a `name`, not {shown(entry, 200)}")
        if own in found:
            raise DataError(f"{path}: category id {own} stands for both {found[own]!r} and {name!r}")
        found[own] = name
    return found


def _without_roots(
    found: dict[int, str], content: dict[str, Any], path: Path, classes: tuple[str, ...] | None, problems: Problems
) -> dict[int, str]:
    """The categories without the one that only groups the others: Roboflow writes the project's name as id 0.

    Raises:
        DataError: two of the others share a name.
    """
    used = {as_id(entry.get("category_id")) for entry in content["annotations"] if isinstance(entry, dict)}
    above = {as_id(entry["id"]): entry.get("supercategory") for entry in content["categories"]}
    kept = dict(found)
    for own, name in found.items():
        others = [above[other] for other in found if other != own]
        root = own not in used and above[own] in _NOTHING_ABOVE and bool(others) and set(others) == {name}
        if root and (name not in (classes or ()) or list(found.values()).count(name) > 1):
            text = f"the category {name!r} (id {own}) has no box and only groups the others; it is no class"
            problems.warning("guess", path, None, text)
            del kept[own]
    doubled = [name for name, count in Counter(kept.values()).items() if count > 1]
    if doubled:
        raise DataError(f"{path}: two categories are called {doubled[0]!r}")
    return kept


def _chosen(
    found: dict[int, str], path: Path, classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids of the categories that are read, in the order of their labels."""
    if classes is None:
        ids = tuple(sorted(found))
        return tuple(found[own] for own in ids), ids
    id_of = {name: own for own, name in found.items()}
    missing = [name for name in classes if name not in id_of]
    if missing:
        raise DataError(f"{path}: no category is called {missing[0]!r}; there are {', '.join(sorted(id_of))}")
    return classes, tuple(id_of[name] for name in classes)
