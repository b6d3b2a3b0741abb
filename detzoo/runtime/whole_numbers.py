"""Whole numbers that a user writes."""

from __future__ import annotations


def whole_number(text: str, *, digits: int = 9) -> int | None:
    """The number, or None: ``str.isdigit`` says yes to "²", and ``int`` fails for that and for thousands of digits.

    Args:
        text: 0 and more, in ASCII digits; blanks around it do not matter.
        digits: at most so many.
    """
    word = text.strip()
    return int(word) if word.isascii() and word.isdigit() and len(word) <= digits else None
