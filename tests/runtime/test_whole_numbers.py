from __future__ import annotations

import pytest

from detzoo.errors import DetzooError
from detzoo.proposals.sources import numbers_of
from detzoo.runtime.sizes import parse_size
from detzoo.runtime.whole_numbers import whole_number


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 12 ", 12), ("007", 7), ("9" * 9, 999_999_999)])
def test_whole_numbers(text: str, number: int) -> None:
    assert whole_number(text) == number


NONE = ["", " ", "-1", "+1", "1.0", "1e3", "1_000", "\u00b2", "\u0661", "9" * 10, "9" * 5000, "1 2"]


@pytest.mark.parametrize("text", NONE)
def test_what_is_none(text: str) -> None:
    assert whole_number(text) is None


@pytest.mark.parametrize("text", ["\u00b2", "9" * 5000])
def test_options_of_commands_say_what_is_allowed(text: str) -> None:
    with pytest.raises(DetzooError, match="480x640"):
        parse_size(f"{text}x3")
    with pytest.raises(DetzooError, match="10,100,1000"):
        numbers_of(f"10,{text}")
    assert numbers_of("9, 1,9") == (1, 9)


@pytest.mark.parametrize("text", ["3x4", "3X4", "3,4", "3, 4", "[3,4]", "[3, 4]"])
def test_a_size_is_height_and_width_however_it_is_spelled(text: str) -> None:
    assert parse_size(text) == (3, 4)
    assert parse_size("3") == (3, 3)


@pytest.mark.parametrize("text", ["", "0", "3x0", "3x4x5", "3 4", "a,b", "-3", "3.5", "x", "9" * 6])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(DetzooError, match="480x640"):
        parse_size(text)
