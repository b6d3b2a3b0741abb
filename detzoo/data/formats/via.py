"""VIA (VGG Image Annotator): a json with ``regions`` for each image, alone or inside a saved project."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.json_file import read_json
from detzoo.data.formats.tool_entries import ToolImage, ToolShape
from detzoo.data.formats.values import as_number, shown
from detzoo.errors import DataError

KEYS = (b'"regions"', b'"filename"', b'"shape_attributes"')
_CLASS_KEYS: Final = ("class", "label", "name", "type", "category", "object")
"""Attributes of a region that hold its class, where there are several."""


def parse_via(path: Path, problems: Problems, *, lines: bool) -> list[ToolImage]:
    """The images of a file.

    Raises:
        DataError: the file is another one, or it is not clear which attribute holds the class.
    """
    file = read_json(path)
    content = file.content
    if isinstance(content, dict) and isinstance(content.get("_via_img_metadata"), dict):
        content = content["_via_img_metadata"]
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise DataError(f"{path}: not a VIA file: needed: an object for each image, with filename and regions")
    regions = {key: _regions(value.get("regions")) for key, value in content.items()}
    attribute = _class_attribute(path, [region for found in regions.values() for region in found or ()])
    entries = []
    for key, value in content.items():
        line = file.text[: max(0, file.text.find(f'"{key}"'))].count("\n") + 1 if lines else None
        found = regions[key]
        if found is None:
            text = (
                f"{shown(value.get('filename'))}: regions must be a list, not {shown(value.get('regions'))}; left out"
            )
            problems.error("bad-annotation", path, line, text)
            continue
        shapes = [_shape(region, attribute) for region in found]
        entries.append(ToolImage(path, value.get("filename"), line=line, shapes=shapes))
    return entries


def _regions(value: Any) -> list[Any] | None:
    """VIA 2 writes a list, VIA 1 an object with numbers for keys."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else None


def _class_attribute(path: Path, regions: list[Any]) -> str | None:
    names: Counter[str] = Counter()
    for region in regions:
        attributes = region.get("region_attributes") if isinstance(region, dict) else None
        names.update(list(attributes) if isinstance(attributes, dict) else ())
    if len(names) <= 1:
        return next(iter(names), None)
    called = [name for name in names if name.lower() in _CLASS_KEYS]
    if len(called) != 1:
        raise DataError(
            f"{path}: the regions have the attributes {', '.join(names)}: which is the class? Call it `class`, and no "
            f"other one {', '.join(_CLASS_KEYS)}"
        )
    return called[0]


def _shape(region: Any, attribute: str | None) -> ToolShape:
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict):
        return ToolShape(None, problem=f"a region has shape_attributes, not {shown(region)}")
    name: Any = "object"
    if attribute is not None:
        name = attributes.get(attribute) if isinstance(attributes, dict) else None
    if isinstance(name, dict):  # a checkbox: {"cat": true}
        chosen = [key for key, value in name.items() if value is True]
        name = chosen[0] if len(chosen) == 1 else None
    kind = shape.get("name")
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or len(xs) < 3:
            return ToolShape(
                name, problem=f"a polygon needs as many all_points_x as all_points_y, three at least: {shown(shape)}"
            )
        return ToolShape(name, [value for pair in zip(xs, ys, strict=True) for value in pair])
    keys = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
    if not isinstance(kind, str) or kind not in keys:
        return ToolShape(name, kind=str(kind))
    numbers = [number for key in keys[kind] if (number := as_number(shape.get(key))) is not None]
    if len(numbers) < len(keys[kind]):
        return ToolShape(name, problem=f"a {kind} needs the numbers {', '.join(keys[kind])}: {shown(shape)}")
    if kind == "rect":
        x, y, width, height = numbers
        if width < 0 or height < 0:
            return ToolShape(name, problem=f"a rect of {width:g} x {height:g} px")
        return ToolShape(name, (x, y, x + width, y + height))
    x, y, across, up = (*numbers, numbers[-1])[:4]
    return ToolShape(name, (x - across, y - up, x + across, y + up))
