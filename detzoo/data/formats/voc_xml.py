"""One VOC xml file -> plain values with line numbers; rejects document types and entities."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from detzoo.data.formats.strict_xml import StrictXml, declares_encoding, parse
from detzoo.runtime.foreign_files import read_file

MAX_BYTES = 16 * 2**20  # a VOC file is a few kilobytes; anything near this is not one


@dataclass
class VocObject:
    """One ``<object>``: its texts by tag, and the line where it begins."""

    line: int
    texts: dict[str, str] = field(default_factory=dict)


@dataclass
class VocFile:
    """What detzoo reads of a file; everything else in it, ``path`` above all, is ignored."""

    filename: tuple[str, int] | None = None
    size: dict[str, str] = field(default_factory=dict)
    size_line: int = 1
    objects: list[VocObject] = field(default_factory=list)
    latin1: bool = False


class _Handler(StrictXml):
    """Keeps the path of open tags; only direct children count, so that ``part`` boxes are not taken for objects."""

    def __init__(self, path: Path, parser: expat.XMLParserType) -> None:
        super().__init__(path, parser, root="annotation", what="a VOC file")
        self.text: list[str] = []
        self.result = VocFile()
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text.append

    def start(self, tag: str, _: dict[str, str]) -> None:
        self.open(tag)
        self.text.clear()
        if self.tags == ["annotation", "object"]:
            self.result.objects.append(VocObject(self.line))
        if self.tags == ["annotation", "size"]:
            self.result.size_line = self.line

    def end(self, tag: str) -> None:
        text = "".join(self.text).strip()
        match self.tags[1:]:
            case ["object", ("name" | "difficult")] | ["object", "bndbox", ("xmin" | "ymin" | "xmax" | "ymax")]:
                self.result.objects[-1].texts[tag] = text
            case ["size", ("width" | "height")]:
                self.result.size[tag] = text
            case ["filename"]:
                self.result.filename = (text, self.line)
        self.tags.pop()
        self.text.clear()


def read_voc_xml(path: Path) -> VocFile:
    """Read one file.

    Raises:
        DataError: the file is missing, malformed, in an encoding that cannot be read, or holds entities.
    """
    data = read_file(path, limit=MAX_BYTES, what="VOC file")
    latin1 = not declares_encoding(data) and not _is_utf8(data)
    parser = expat.ParserCreate("iso-8859-1" if latin1 else None)
    handler = _Handler(path, parser)
    parse(data, handler)
    handler.result.latin1 = latin1
    return handler.result


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
