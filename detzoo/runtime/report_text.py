"""Text of others (class names, file names) in CSV, Markdown and terminals: no program takes it for its own."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula (OWASP, CSV injection)."""
_CONTROL: Final = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]")
_NUMBER: Final = re.compile(r"[-+]?((\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|inf|nan)", re.ASCII)


def class_name(classes: Sequence[str | None], label: int) -> str:
    """The name of a label; ``class 7`` where it has none."""
    return (classes[label] if 0 <= label < len(classes) else None) or f"class {label}"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV. A text that a spreadsheet would take for a formula gets an apostrophe; numbers stay numbers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


def csv_cell(value: Any) -> Any:
    """One cell of ``csv_text``."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # Python's writer leaves a lone \r without quotes
    return f"'{text}" if value.startswith(_FORMULA) and not _NUMBER.fullmatch(value) else text


def read_csv_cell(text: str) -> str:
    """The text that ``csv_cell`` was given."""
    return text[1:] if text.startswith("'") and csv_cell(text[1:]) != text[1:] else text


def terminal_text(text: str) -> str:
    """Text for a terminal: control characters but newline and tab, and what UTF-8 cannot hold, as backslash codes."""
    plain = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return plain.encode("utf-8", "backslashreplace").decode()


def markdown_text(text: str) -> str:
    """Text on one line of a Markdown page, or in a cell of its table: it makes no HTML, no column, no link."""
    line = " ".join(text.split())
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;").replace("](", "]\\(")
    return re.sub(r"(\\*)\|", lambda found: found[1] * 2 + r"\|", line)  # a backslash before a pipe would undo it
