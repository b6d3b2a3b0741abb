"""A JSON file with the lines of its entries, and the keys that stand twice in one object."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from detzoo.runtime.foreign_files import decode_text, read_file
from detzoo.runtime.json_text import telling_json, whole

JSON_BYTES: Final = 8 * 2**30
"""Largest annotation file; those of the largest public datasets have a few GB."""


@dataclass
class JsonFile:
    """What a file holds.

    Args:
        path: of the file.
        text: as it was read.
        content: the parsed value.
        repeated: keys that stand twice in one object, by the object's ``id``; the last of each is in ``content``.
    """

    path: Path
    text: str
    content: Any
    repeated: dict[int, list[str]] = field(default_factory=dict)

    def repeated_in(self, entry: Any) -> list[str]:
        """Keys that stand twice in an entry or in a value of it."""
        if not self.repeated:
            return []
        inside = entry.values() if isinstance(entry, dict) else ()
        return [key for value in (entry, *inside) for key in self.repeated.get(id(value), ())]


def read_json(path: Path) -> JsonFile:
    """Read a file.

    Raises:
        DataError: the file cannot be read, is not UTF-8 (or marked UTF-16), or not JSON; the message has the line.
    """
    text = decode_text(read_file(path, limit=JSON_BYTES, what="annotation file"), path)
    repeated: dict[int, list[str]] = {}

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            times = Counter(key for key, _ in pairs)
            repeated[id(found)] = [key for key, count in times.items() if count > 1]
        return found

    with telling_json(path):
        try:
            content = json.loads(text, object_pairs_hook=made)
        except json.JSONDecodeError:
            raise
        except ValueError:  # a whole number of more digits than Python converts; large files are rarely read twice
            repeated.clear()
            content = json.loads(text, object_pairs_hook=made, parse_int=whole)
    return JsonFile(path, text, content, repeated)


class EntryLines:
    """Line of the n-th entry of a top-level list, found by walking the text once more; only for reports.

    Newlines are counted from one entry to the next, so that all lines together take the time of one reading.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._lines: dict[str, list[int]] = {}

    def line(self, key: str, row: int) -> int:
        """1-based line at which an entry begins."""
        if key not in self._lines:
            self._lines[key] = self._find(key)
        return self._lines[key][row]

    def _find(self, key: str) -> list[int]:
        lines, line, counted = [], 1, 0
        for at in self._offsets(key):
            line += self.text.count("\n", counted, at)
            counted = at
            lines.append(line)
        return lines

    def _offsets(self, key: str) -> Iterator[int]:
        decoder = json.JSONDecoder(parse_int=str)  # values are skipped
        found: list[int] = []
        at = self._skip(self.text.index("{") + 1)
        while self.text[at] != "}":
            name, at = decoder.raw_decode(self.text, at)
            at = self._skip(at)  # stands at ":"
            at = self._skip(at + 1)
            if name == key and self.text[at] == "[":
                found.clear()  # of lists with the same name, the last counts
                at = self._skip(at + 1)
                while self.text[at] != "]":
                    found.append(at)
                    _, at = decoder.raw_decode(self.text, at)
                    at = self._skip(at)
                at = self._skip(at + 1)
                continue
            _, at = decoder.raw_decode(self.text, at)
            at = self._skip(at)
        yield from found

    def _skip(self, at: int) -> int:
        while self.text[at] in " \t\r\n,":
            at += 1
        return at
