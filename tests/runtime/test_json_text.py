"""JSON of unknown origin: a value, or one message with the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import DataError, WeightsError
from detzoo.runtime.json_text import load_json, parse_json, parse_object


def test_values_are_those_of_json() -> None:
    assert parse_json("[]", "x") == []
    assert parse_json(b'{"a": [1, 2.5, null, "b"]}', "x") == {"a": [1, 2.5, None, "b"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "x:1: not valid JSON"),
        ('{"a":\n1,\n}', "x:3: not valid JSON"),
        (b"\xff[]", "x: not valid JSON: not UTF-8"),
        ("[" * 100_000, "x: not valid JSON: nested too deeply"),
        ('{"a":' * 100_000, "x: not valid JSON: nested too deeply"),
    ],
)
def test_what_is_no_json_is_told_with_the_place(text: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        parse_json(text, Path("x"))


def test_a_number_that_is_too_long_is_text() -> None:
    assert parse_json("[7, " + "1" * 5000 + "]", "x") == [7, "1" * 5000]


def test_all_that_does_not_fit_is_told_at_once() -> None:
    parts: dict[str, Callable[[Any], bool]] = {"a": lambda value: value == 1, "b": lambda value: value is None}
    assert parse_object('{"a": 1, "d": 4}', "x", parts) == {"a": 1, "d": 4}
    with pytest.raises(WeightsError) as caught:
        parse_object('{"a": 2, "b": []}', "x", parts, error=WeightsError)
    assert str(caught.value) == "x: a is 2, b is []"
    with pytest.raises(DataError, match="x: a list, not a JSON object"):
        parse_object("[]", "x", parts)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(DataError, match=r"a\.json: no such JSON file"):
        load_json(path)
    path.write_bytes(b"\xef\xbb\xbf[1]")  # a byte order mark is no letter
    assert load_json(path) == [1]
