"""CVAT's own xml, "CVAT for images": ``<image>`` with boxes, polygons and ellipses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from detzoo.data.checking.problems import Problems
from detzoo.data.formats.strict_xml import StrictXml, parse
from detzoo.data.formats.tool_entries import ToolImage, ToolShape
from detzoo.data.formats.values import as_number, shown
from detzoo.errors import DataError
from detzoo.runtime.foreign_files import check_ordinary, count_words, read_file

_BYTES: Final = 2**30
_HEAD: Final = 4096
_BOX: Final = ("xtl", "ytl", "xbr", "ybr")
_ELLIPSE: Final = ("cx", "cy", "rx", "ry")
_DEFAULT: Final = "default"
"""CVAT's own name of the subset of what belongs to none."""
_OTHERS: Final = ("polyline", "points", "mask", "cuboid", "skeleton", "tag")


def is_cvat(path: Path) -> bool:
    """Whether an xml file begins as CVAT's do."""
    try:
        check_ordinary(path, limit=_BYTES, what="CVAT xml")
        with path.open("rb") as file:
            return count_words(file.read(_HEAD), (b"<annotations>",)) == 1
    except (OSError, DataError):
        return False


def cvat_subsets(path: Path) -> tuple[str, ...]:
    """The subsets (Train, Validation, Test, or any other) of a file's images; none where it names none.

    A damaged file has none: its reader says what is wrong with it.
    """
    try:
        names = dict.fromkeys(entry.subset for entry in parse_cvat(path, Problems(), lines=False))
    except DataError:
        return ()
    return () if set(names) == {_DEFAULT} else tuple(names)


def parse_cvat(path: Path, problems: Problems, *, lines: bool) -> list[ToolImage]:
    """The images of a file.

    Raises:
        DataError: the file is damaged, another one, or CVAT's xml for videos.
    """
    data = read_file(path, limit=_BYTES, what="CVAT xml")
    parser = expat.ParserCreate()
    handler = _Handler(path, parser)
    parse(data, handler)
    return handler.entries


class _Handler(StrictXml):
    def __init__(self, path: Path, parser: expat.XMLParserType) -> None:
        super().__init__(path, parser, root="annotations", what="a CVAT file")
        self.entries: list[ToolImage] = []
        self.subset = ""
        parser.StartElementHandler = self.start
        parser.CharacterDataHandler = self.text
        parser.EndElementHandler = self.end

    def start(self, tag: str, given: dict[str, str]) -> None:
        line = self.line
        self.open(tag)
        if self.tags == ["annotations", "track"]:
            raise DataError(f"{self.path}:{line}: this is CVAT's xml for videos: export it as `CVAT for images`")
        if self.tags == ["annotations", "image"]:
            size = (given.get("height"), given.get("width"))
            subset = given.get("subset") or self.subset.strip() or _DEFAULT
            self.entries.append(ToolImage(self.path, given.get("name"), line=line, size=size, subset=subset))
        elif self.tags[:2] == ["annotations", "image"] and len(self.tags) == 3:
            self.entries[-1].shapes.append(_shape(tag, given, line))

    def text(self, data: str) -> None:
        """What stands between tags: the subset of a whole task or job."""
        if self.tags in (["annotations", "meta", "task", "subset"], ["annotations", "meta", "job", "subset"]):
            self.subset += data

    def end(self, _: str) -> None:
        self.tags.pop()


def _shape(tag: str, given: dict[str, str], line: int) -> ToolShape:
    name: Any = given.get("label")
    if tag == "polygon":
        points = [number for pair in given.get("points", "").split(";") for number in pair.split(",")]
        if len(points) < 6:
            return ToolShape(
                name, line=line, problem=f"a polygon needs three points at least: {shown(given.get('points'))}"
            )
        return ToolShape(name, points, line)
    if tag not in ("box", "ellipse"):
        return ToolShape(name, line=line, kind=tag if tag in _OTHERS else f"<{tag[:40]}>")
    keys = _BOX if tag == "box" else _ELLIPSE
    numbers = [number for key in keys if (number := as_number(given.get(key))) is not None]
    if len(numbers) < 4:
        return ToolShape(name, line=line, problem=f"a {tag} needs the numbers {', '.join(keys)}")
    if as_number(given.get("rotation", "0")) != 0:
        return ToolShape(name, line=line, kind=f"rotated {tag}")
    a, b, c, d = numbers
    if tag == "ellipse":
        a, b, c, d = a - c, b - d, a + c, b + d
    if c < a or d < b:
        return ToolShape(name, line=line, problem=f"a {tag} of {c - a:g} x {d - b:g} px")
    return ToolShape(name, (a, b, c, d), line)
