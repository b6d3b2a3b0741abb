"""Sizes of images as a user writes them: one rule for every option and for recipes."""

from __future__ import annotations

import re
from typing import Final

from detzoo.errors import DetzooError
from detzoo.runtime.whole_numbers import whole_number

_WRITTEN: Final = re.compile(r"\[?\s*([0-9]{1,5})\s*(?:[,xX]\s*([0-9]{1,5})\s*)?\]?")
_SHOWN: Final = 60
RULE: Final = "height first: 480x640 or 480,640 is 480 px high and 640 wide, 640 is 640x640"


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """(height, width) px of ``480x640``, ``480,640``, ``[480, 640]``, or ``640`` for a square.

    Raises:
        DetzooError: it is something else, or nothing is left of a side.
    """
    found = _WRITTEN.fullmatch(text.strip())
    height = whole_number(found[1]) if found else None
    width = whole_number(found[2] or found[1]) if found else None
    if not height or not width:
        raise DetzooError(f"{option} {text[:_SHOWN]}: a size is written {RULE}")
    return height, width
