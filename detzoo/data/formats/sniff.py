"""Finding out what a path holds: which format, which splits. Nothing is guessed silently: no match is an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from detzoo.data.formats.data_yaml import KEYS, describes_data, source_of_yaml
from detzoo.data.formats.derived import derived_source
from detzoo.data.formats.folder_layouts import find_layout, is_coco, split_of_json
from detzoo.data.formats.source import DataSource, Part
from detzoo.data.formats.tool_layouts import tool_file, tool_format
from detzoo.data.formats.yaml_mapping import load_yaml
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import is_ordinary

_DESCRIPTIONS: Final = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""Files that describe the data by their name; other YAML files only by what is in them."""


def describe(path: Path, *, root: Path | None = None) -> DataSource:
    """The source at an existing path.

    Args:
        path: file or folder.
        root: what ``path:`` of a data.yaml is relative to; the file's own folder by default.

    Raises:
        DataError: the path holds nothing that can be read.
    """
    if is_ordinary(path):
        kind = tool_format(path)
        if kind is not None and not (path.suffix.lower() == ".json" and is_coco(path)):
            return tool_file(path, kind)
        if path.suffix.lower() == ".json":
            part = Part(annotations=path)
            return DataSource(str(path), path.stem, "coco", path.parent, {split_of_json(path): (part,)})
        if path.suffix.lower() in (".yaml", ".yml"):
            return _of_yaml(path, root or path.parent)
        raise DataError(f"{path}: a dataset is a folder, a data.yaml, a COCO json or a file of an annotation tool")
    description, notes = _description(path)
    source = _of_yaml(description, path) if description is not None else find_layout(path)
    if source is None:
        said = "".join(f"\n{note}" for note in notes)
        raise DataError(
            f"{path}: no dataset found here; looked for data.yaml, json files of boxes (COCO), xml files with "
            f"images (VOC), label files with images (YOLO), <id>/images with <id>/masks, and the files "
            f"of labelme, VIA, CVAT and Open Images{said}"
        )
    return dataclasses.replace(source, notes=(*notes, *source.notes))


def _of_yaml(path: Path, base: Path) -> DataSource:
    content = load_yaml(path)
    derived = "source" in content
    source = derived_source(path, content, describe) if derived else source_of_yaml(path, base)
    if content.get("groups") is None:
        return source  # derived: its source may have groups
    return dataclasses.replace(source, groups=content["groups"], groups_base=path.parent if derived else source.root)


def _description(folder: Path) -> tuple[Path | None, list[str]]:
    """The YAML file that describes the data in a folder, if any, and what is said of the others."""
    notes: list[str] = []
    for name in _DESCRIPTIONS:
        if is_ordinary(folder / name):
            content = load_yaml(folder / name)
            if _known_keys(content):
                return folder / name, notes
            notes.append(f"{name} is passed over: none of its keys ({', '.join(list(content)[:3])}) describes data")
    others = [path for path in sorted(folder.glob("*.y*ml")) if path.name not in _DESCRIPTIONS]
    found = [path for path in others if describes_data(path)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: several files describe data ({names}): name one of them in place of the folder")
    return (found[0] if found else None), notes


def _known_keys(content: Mapping[str, Any]) -> bool:
    return bool(content.keys() & {*KEYS, "source", "names", "nc", "train", "val", "test"})
