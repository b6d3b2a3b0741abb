"""labelme: one json per image, with ``shapes``, ``imagePath``, ``imageHeight`` and ``imageWidth``."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.json_file import EntryLines, read_json
from detzoo.data.formats.tool_entries import ToolImage, ToolShape
from detzoo.data.formats.values import as_number, shown
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import files_in, is_folder

KEYS = (b'"shapes"', b'"imagePath"')


def parse_labelme(place: Path, problems: Problems, *, lines: bool) -> list[ToolImage]:
    """The images of a folder of json files, or of one file.

    Files that are no labelme json are passed over: ``data check`` counts what is annotated.
    """
    files = [path for path in files_in(place) if path.suffix.lower() == ".json"] if is_folder(place) else [place]
    found = []
    for path in files:
        try:
            entry = _entry(path, lines)
        except DataError as error:
            problems.error("bad-annotation", path, None, f"{str(error).removeprefix(f'{path}: ')}; left out")
            continue
        found.append(entry)
    _tell_joined(place, found, problems)
    return found


def _tell_joined(place: Path, entries: Sequence[ToolImage], problems: Problems) -> None:
    counts = [len(shape.parts) for entry in entries for shape in entry.shapes if shape.parts]
    if counts:
        text = (
            f"{sum(counts)} polygons and masks that share their label and group_id are read as {len(counts)} objects, "
            "as labelme's own converters do"
        )
        problems.warning("guess", place, None, text)


def _entry(path: Path, lines: bool) -> ToolImage:
    file = read_json(path)
    content = file.content
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{path}: not a labelme file: the list `shapes` is missing")
    places = EntryLines(file.text) if lines else None
    shapes = _joined(
        [
            (_shape(value, None if places is None else places.line("shapes", row)), _group_of(value))
            for row, value in enumerate(content["shapes"])
        ]
    )
    size = (content.get("imageHeight"), content.get("imageWidth"))
    return ToolImage(path, content.get("imagePath"), size=size, shapes=shapes)


def _group_of(value: Any) -> Hashable:
    """What a polygon or mask shares with the other parts of its object; None where it is the only one."""
    if not isinstance(value, dict) or value.get("shape_type", "polygon") not in ("polygon", "mask"):
        return None
    label, group = value.get("label"), value.get("group_id")
    return (label, group) if isinstance(label, str) and isinstance(group, int | str) and group != "" else None


def _joined(shapes: Sequence[tuple[ToolShape, Hashable]]) -> list[ToolShape]:
    """Shapes of one group as one, at the place of the first; a part that cannot be read stays alone and is told."""
    groups: dict[Hashable, list[ToolShape]] = {}
    for shape, group in shapes:
        if group is not None and shape.problem is None:
            groups.setdefault(group, []).append(shape)
    done: list[ToolShape] = []
    for shape, group in shapes:
        parts = groups.get(group, ()) if shape.problem is None else ()
        if len(parts) < 2:
            done.append(shape)
        elif shape is parts[0]:
            done.append(ToolShape(shape.name, line=shape.line, parts=tuple(parts)))
    return done


def _shape(value: Any, line: int | None) -> ToolShape:
    if not isinstance(value, dict):
        return ToolShape(None, line=line, problem=f"a shape is a mapping, not {shown(value)}")
    name, kind, points = value.get("label"), value.get("shape_type", "polygon"), value.get("points")
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not isinstance(points, list) or not pairs:
        return ToolShape(name, line=line, problem=f"points must be a list of [x, y], not {shown(points)}")
    flat = [number for point in points for number in point]
    if kind == "circle":
        return _circle(name, flat, line)
    if kind == "mask":
        if len(points) != 2:
            return ToolShape(name, line=line, problem=f"a mask has 2 points, not {len(points)}")
        if value.get("mask") is None:
            return ToolShape(name, line=line, problem="a mask has its pixels as PNG in `mask`, which is missing")
        return ToolShape(name, flat, line, patch=value["mask"])
    if kind == "rectangle":
        if len(points) not in (2, 4):  # newer ones have four corners
            return ToolShape(name, line=line, problem=f"a rectangle has 2 points, not {len(points)}")
        numbers = [as_number(number) for number in flat]
        if len(points) == 4 and None not in numbers:
            xs, ys = flat[0::2], flat[1::2]
            flat = [min(xs), min(ys), max(xs), max(ys)]
        return ToolShape(name, flat, line)
    if kind == "polygon":
        if len(points) < 3:
            return ToolShape(name, line=line, problem=f"a polygon has three points at least, not {len(points)}")
        return ToolShape(name, flat, line)
    return ToolShape(name, line=line, kind=str(kind))


def _circle(name: Any, flat: list[Any], line: int | None) -> ToolShape:
    numbers = [number for value in flat if (number := as_number(value)) is not None]
    if len(numbers) != 4:
        return ToolShape(name, line=line, problem=f"a circle has a centre and a point on its edge, not {shown(flat)}")
    x, y, radius = numbers[0], numbers[1], math.dist(numbers[:2], numbers[2:])
    return ToolShape(name, (x - radius, y - radius, x + radius, y + radius), line)
