"""JSON that somebody may have altered: one clear message for whatever Python's reader stumbles over."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DataError, DetzooError
from detzoo.runtime.foreign_files import TEXT_BYTES, read_text

_MOST_DIGITS: Final = 4000
"""Of a whole number; Python converts 4,300."""


@contextlib.contextmanager
def telling_json(place: Path | str, error: type[DetzooError] = DataError) -> Iterator[None]:
    """Turn what ``json.loads`` raises into one message.

    Args:
        place: what is read, for the message; a path is told with the line.
        error: kind of the error.

    Raises:
        DetzooError: of the kind ``error``: not JSON, or nested too deeply.
    """
    try:
        yield
    except json.JSONDecodeError as found:
        at = f"{place}:{found.lineno}" if isinstance(place, Path) else place
        raise error(f"{at}: not valid JSON: {found.msg}") from None
    except UnicodeDecodeError as found:
        raise error(f"{place}: not valid JSON: not UTF-8: byte {found.start}") from None
    except RecursionError:
        raise error(f"{place}: not valid JSON: nested too deeply") from None


def whole(digits: str) -> int | str:
    """A whole number; as text where it is too long for any purpose, which no reader takes for a number."""
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def parse_json(text: str | bytes, place: Path | str, *, error: type[DetzooError] = DataError) -> Any:
    """The value of a text; see ``telling_json`` for arguments and errors."""
    with telling_json(place, error):
        return json.loads(text, parse_int=whole)


def parse_object(
    text: str | bytes,
    place: Path | str,
    parts: Mapping[str, Callable[[Any], bool]],
    *,
    error: type[DetzooError] = DataError,
) -> dict[str, Any]:
    """An object and the values that it must hold.

    Args:
        text: JSON.
        place: what is read, for the message.
        parts: name of a value -> whether one fits; a value that is missing is None. Others may stand there too.
        error: kind of the error.

    Raises:
        DetzooError: of the kind ``error``: not JSON, not an object, or values that do not fit, all in one message.
    """
    return check_parts(parse_json(text, place, error=error), place, parts, error=error)


def check_parts(
    value: Any, place: Path | str, parts: Mapping[str, Callable[[Any], bool]], *, error: type[DetzooError] = DataError
) -> dict[str, Any]:
    """``parse_object`` of a value that is parsed already."""
    if not isinstance(value, dict):
        raise error(f"{place}: a {type(value).__name__}, not a JSON object")
    wrong = [f"{name} is {value.get(name)!r:.80}" for name, fits in parts.items() if not fits(value.get(name))]
    if wrong:
        raise error(f"{place}: {', '.join(wrong)}")
    return value


def load_json(path: Path, *, error: type[DetzooError] = DataError, limit: int = TEXT_BYTES) -> Any:
    """The value of a file.

    Args:
        path: of the file.
        error: kind of the error where it is no JSON.
        limit: bytes; larger files are rejected.

    Raises:
        DataError: as ``read_text``.
        DetzooError: of the kind ``error``, as ``parse_json``.
    """
    return parse_json(read_text(path, limit=limit, what="JSON file"), path, error=error)
