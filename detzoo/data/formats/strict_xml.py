"""Xml files of strangers: no document types, no entities, no endless nesting; every error with file and line."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Final
from xml.parsers import expat

from detzoo.errors import DataError
from detzoo.runtime.foreign_files import decode_text

MAX_DEPTH: Final = 64
"""Tags within tags; annotation files have five or so."""
_DECLARATION: Final = re.compile(rb"(\s*<\?xml[^>]*encoding\s*=\s*)([\"'])([A-Za-z0-9._-]{1,40})\2")
_MANY_BYTES: Final = frozenset(
    {
        "big5", "big5hkscs", "cp932", "cp936", "cp949", "cp950", "euc_jp", "euc_jis_2004", "euc_kr", "gb18030",
        "gb2312", "gbk", "johab", "shift_jis", "shift_jis_2004",
    }
)  # fmt: skip
"""Encodings of East Asia by Python's names: expat reads those of one byte per letter alone."""
_INVALID: Final = "not well-formed (invalid token)"


def declares_encoding(data: bytes) -> bool:
    """Whether a file says, or shows by its first bytes, that it may be something else than UTF-8."""
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
    return wide or re.match(rb"\s*<\?xml[^>]*encoding\s*=", data[:200]) is not None


class StrictXml:
    """The tags that are open, for handlers of one format.

    Args:
        path: of the file, for messages.
        parser: that calls the handler.
        root: the first tag that the format has.
        what: the format's name, for messages: ``a VOC file``.
    """

    def __init__(self, path: Path, parser: expat.XMLParserType, *, root: str, what: str) -> None:
        self.path, self.parser, self.root, self.what = path, parser, root, what
        self.tags: list[str] = []
        parser.StartDoctypeDeclHandler = self.reject
        parser.EntityDeclHandler = self.reject

    @property
    def line(self) -> int:
        """Where the parser stands, from 1."""
        return self.parser.CurrentLineNumber

    def reject(self, *_: object) -> None:
        """Document types and entities.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.path}:{self.line}: document types and entities are rejected (entity bombs)")

    def open(self, tag: str) -> None:
        """One more tag.

        Raises:
            DataError: the root is another, or the nesting too deep.
        """
        if not self.tags and tag != self.root:
            raise DataError(f"{self.path}:{self.line}: not {self.what}: the root is <{tag}>")
        self.tags.append(tag)
        if len(self.tags) > MAX_DEPTH:
            raise DataError(f"{self.path}:{self.line}: nested deeper than {MAX_DEPTH} tags")


def _in_utf8(data: bytes, path: Path) -> bytes:
    """The same file in UTF-8 where it declares an encoding that Python reads and expat does not."""
    found = _DECLARATION.match(data[:200])
    try:
        name = codecs.lookup(found[3].decode()).name if found else ""
        if found is None or name not in _MANY_BYTES:
            return data
        rest = data[found.end() :].decode(name)
    except LookupError:  # told by expat
        return data
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, found.end() + error.start) + 1 if found else 1
        raise DataError(f"{path}:{line}: not {name.upper()}, as the file declares; save it as UTF-8") from None
    return found[1] + b'"utf-8"' + rest.encode()


def parse(data: bytes, handler: StrictXml) -> None:
    """The whole file, through the handler.

    Raises:
        DataError: it is not well-formed, in an encoding that cannot be read, or what the handler rejects.
    """
    data = _in_utf8(data, handler.path)
    try:
        handler.parser.Parse(data, True)
    except expat.ExpatError as error:
        why = expat.ErrorString(error.code)
        if why == _INVALID and not declares_encoding(data):
            decode_text(data, handler.path)  # says so where it is no UTF-8
        raise DataError(f"{handler.path}:{error.lineno}: not well-formed xml: {why}") from None
    except (LookupError, ValueError) as error:
        text = f"the xml's encoding cannot be read: {error}; save the file as UTF-8"
        raise DataError(f"{handler.path}:1: {text}") from None
