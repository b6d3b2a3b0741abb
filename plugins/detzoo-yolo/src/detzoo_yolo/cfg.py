"""Darknet's cfg files: sections of options, every one with its line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detzoo.errors import RecipeError
from detzoo.runtime.near_names import nearest

_WHOLE: Final = re.compile(r"-?[0-9]{1,9}")  # isdigit() says yes to ², and int() no


@dataclass
class Section:
    """One ``[section]``.

    Args:
        name: without brackets.
        line: where it begins, from 1.
        file: for messages.
        index: its number among the layers, from 0; -1 for ``[net]``.
        options: value and line by key.
    """

    name: str
    line: int
    file: str
    index: int = -1
    options: dict[str, tuple[str, int]] = field(default_factory=dict)

    def refuse(self, message: str, key: str | None = None) -> RecipeError:
        """An error at the section, or at one of its options."""
        line = self.options[key][1] if key in self.options else self.line
        place = f"layer {self.index} " if self.index >= 0 else ""
        return RecipeError(f"{self.file}:{line}: {place}[{self.name}]: {message}")

    def text(self, key: str, default: str) -> str:
        """An option as it stands."""
        return self.options[key][0] if key in self.options else default

    def whole(self, key: str, default: int, *, least: int = 0) -> int:
        """An option as a whole number."""
        text = self.text(key, str(default))
        if not _WHOLE.fullmatch(text) or int(text) < least:
            raise self.refuse(f"{key}={text}; expected a whole number, {least} or more", key)
        return int(text)

    def number(self, key: str, default: float) -> float:
        """An option as a number."""
        return self._number(key, self.text(key, repr(default)))

    def numbers(self, key: str) -> list[float]:
        """An option as a list of numbers."""
        return [self._number(key, part.strip()) for part in self.text(key, "").split(",") if part.strip()]

    def _number(self, key: str, text: str) -> float:
        try:
            number = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):  # 1e400 is infinite
            raise self.refuse(f"{key}={text}; expected a number", key)
        return number

    def allow(self, *known: str) -> None:
        """Reject options that are not known: their effect is unknown."""
        for key, (value, _) in self.options.items():
            if key not in known:
                near = nearest(key, known)
                hint = f"; {near}" if near else ""
                raise self.refuse(f"the option {key}={value} is not known{hint}", key)


LAYERS: Final = (
    "convolutional", "maxpool", "avgpool", "upsample", "reorg", "route", "shortcut", "dropout", "local", "connected",
    "detection", "region", "yolo",
)  # fmt: skip
SHORT: Final = {"conv": "convolutional", "max": "maxpool", "avg": "avgpool", "conn": "connected", "network": "net"}
SKIPPED: Final = ("crop",)
"""Sections that augment while training and change nothing in a network that detects."""


def read_cfg(path: Path) -> tuple[Section, list[Section]]:
    """``[net]`` and the layers of a cfg file.

    Raises:
        RecipeError: with the line, and the layer's number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RecipeError(f"{path}: the cfg file cannot be read ({reason})") from None
    sections = list(_sections(lines, str(path)))
    if not sections or sections[0].name != "net":
        raise RecipeError(f"{path}: a darknet cfg begins with [net]")
    layers = [section for section in sections[1:] if section.name not in SKIPPED]
    for index, section in enumerate(layers):
        section.index = index
        if section.name not in LAYERS:
            raise section.refuse(f"this layer is not supported; supported are {', '.join(LAYERS)}")
    return sections[0], layers


def _sections(lines: list[str], file: str) -> Iterator[Section]:
    current: Section | None = None
    for number, raw in enumerate(lines, 1):
        # darknet's comments: # and ;
        line = raw.partition("#")[0].partition(";")[0].strip()
        if not line:
            continue
        if line.startswith("[") and line.endswith("]"):
            if current is not None:
                yield current
            name = line[1:-1].strip()
            current = Section(SHORT.get(name, name), number, file)
            continue
        key, equals, value = line.partition("=")
        if current is None or not equals:
            raise RecipeError(f"{file}:{number}: expected [section] or key=value, found: {line}")
        current.options[key.strip()] = (value.strip(), number)
    if current is not None:
        yield current
