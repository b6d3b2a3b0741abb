"""Values that somebody else wrote, as JSON or as text: taken only where they can be meant in one way.

Nothing goes by truthiness: the text "0" is no flag that is set, and [0] is no flag at all.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

_YES: Final = frozenset({"1", "true", "yes"})
_NO: Final = frozenset({"0", "false", "no"})
_UNSAID: Final = frozenset({"", "unspecified", "none", "null"})
"""What tools write where nobody has decided: VOC's own word is Unspecified."""
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE: Final = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_LONGEST: Final = 400  # digits of a number that is written as text
_MOST_PX: Final = 2.0**31
MAX_ID: Final = 2**63 - 1
"""Largest id that result files and pycocotools can hold."""


def as_flag(value: Any) -> bool | None:
    """A flag: true, false, 0, 1 or their texts; False where nothing is said; None for the rest."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _YES or word in _NO:
            return word in _YES
        if word in _UNSAID:
            return False
        value = as_number(word)
        if value is None:
            return None
    if value is None:
        return False
    if isinstance(value, bool | int | float) and value in (0, 1):
        return value == 1
    return None


def as_number(value: Any) -> float | None:
    """A finite number, or its decimal text; None for the rest."""
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST or _NUMBER.fullmatch(text) is None:
            return None
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def as_pixels(values: Any) -> tuple[float, float, float, float] | None:
    """Four numbers of a box; None for the rest, and for numbers that no image can hold."""
    if not isinstance(values, list | tuple) or len(values) != 4:
        return None
    numbers = [as_number(value) for value in values]
    a, b, c, d = (math.nan if number is None else number for number in numbers)
    return (a, b, c, d) if all(abs(number) <= _MOST_PX for number in (a, b, c, d)) else None


def as_side(value: Any) -> int:
    """Height or width of an image in whole px; 0 where it is none, as half a pixel is not."""
    number = as_number(value)
    return int(number) if number is not None and 1 <= number < _MOST_PX and number == int(number) else 0


def as_id(value: Any) -> int | str | None:
    """An id: a whole number (also as 2.0 or "2"), or another text as it is ("007" is not 7); None for the rest."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= 2**53 else None
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return int(text) if len(text) <= _LONGEST and _WHOLE.fullmatch(text) else text
    return None


def is_numeric_id(value: int | str | None) -> bool:
    """Whether an id is a whole number that result files can hold."""
    return isinstance(value, int) and -MAX_ID <= value <= MAX_ID


def shown(value: Any, length: int = 60) -> str:
    """A value for a message, cut to ``length`` letters; texts have quotes."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return f"a whole number of about {int(math.log10(abs(value))) + 1} digits"
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"a {type(value).__name__} that holds a huge number"
    return text if len(text) <= length else f"{text[: length - 3]}..."
