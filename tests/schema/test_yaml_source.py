"""YAML as detzoo reads it: scalars of YAML 1.2, marks, and nothing that runs or grows."""

from __future__ import annotations

import math
from typing import Any

import pytest

from detzoo.errors import RecipeError
from detzoo.schema.yaml_source import Origin, parse, parse_value, show_key


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-2.5e+2", -250.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+3", 3),
        ("-0", 0),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("12:30:00", "12:30:00"),
        ("2024-01-31", "2024-01-31"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("nil", "nil"),
        ('"1e-3"', "1e-3"),
        ("'true'", "true"),
        ("-.inf", -math.inf),
        ("123456789012345678", 123456789012345678),
        ("1234567890123456789", 1.2345678901234568e18),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        ("é", "é"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_value(text, "--set x")

    assert found == value
    assert type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(parse_value(".nan", "--set x"))


def test_every_key_and_element_is_marked_with_the_line_of_its_key() -> None:
    document = parse("a:\n  b:\n    - 1\n    - c: 2\nd: >\n  folded\n", "mine.yaml")

    assert document.value == {"a": {"b": [1, {"c": 2}]}, "d": "folded\n"}
    assert {show_key(key): mark.line for key, mark in document.marks.items()} == {
        "": 1,
        "a": 1,
        "a.b": 2,
        "a.b[0]": 3,
        "a.b[1]": 4,
        "a.b[1].c": 4,
        "d": 5,
    }
    assert str(document.marks[("a", "b")]) == "mine.yaml:2"
    assert str(Origin("--set a.b")) == "--set a.b"


@pytest.mark.parametrize("text", ["a: 1\r\nb: 2\r\n", "\ufeffa: 1\nb: 2\n", "---\na: 1\nb: 2\n...\n"])
def test_line_ends_and_byte_order_mark_do_not_matter(text: str) -> None:
    assert parse(text.encode().decode("utf-8-sig"), "mine.yaml").value == {"a": 1, "b": 2}


def test_thirty_two_levels_are_allowed_and_no_more() -> None:
    assert parse("[" * 32 + "]" * 32, "mine.yaml").value is not None
    with pytest.raises(RecipeError) as caught:
        parse("[" * 33 + "]" * 33, "mine.yaml")
    assert str(caught.value) == "mine.yaml:1: lists and mappings are nested more than 32 deep"


def test_the_pure_python_parser_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from detzoo.schema import yaml_source

    text = "a: {b: [1, 2.5, no], c: 'x'}\nd:\n  - e: 1e-3\n"
    fast = parse(text, "mine.yaml")
    monkeypatch.setattr(yaml_source, "_LOADER", yaml.SafeLoader)

    assert parse(text, "mine.yaml") == fast
