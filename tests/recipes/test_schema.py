"""Checking values against a component's schema; pydantic, which derives the editors' schema, must agree."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from pydantic import ValidationError

from detzoo.recipes.editor_schema import model_of
from detzoo.schema.expressions import check_fields, describe, fits, shown, unknown

NUMBER = {"is": "float", "ge": 0, "lt": 1}
EXPRESSIONS: list[dict[str, Any]] = [
    {"is": "bool"},
    {"is": "int", "ge": 1},
    {"is": "int", "gt": 0, "le": 3},
    {"is": "float"},
    NUMBER,
    {"is": "str"},
    {"is": "str", "min_length": 1, "max_length": 3},
    {"is": "null"},
    {"is": "literal", "values": ["a", "b"]},
    {"is": "literal", "values": [1, 255]},
    {"is": "list", "of": NUMBER},
    {"is": "list", "of": {"is": "int"}, "min_length": 1, "max_length": 2},
    {"is": "tuple", "items": [{"is": "int"}, {"is": "str"}]},
    {"is": "tuple", "of": {"is": "str"}},
    {"is": "dict", "of": {"is": "bool"}},
    {"is": "union", "of": [{"is": "int"}, {"is": "null"}]},
    {"is": "union", "of": [{"is": "str"}, {"is": "list", "of": {"is": "int"}}]},
    {"is": "union", "of": [{"is": "list", "of": {"is": "int"}}, {"is": "tuple", "items": [{"is": "str"}]}]},
    {"is": "settings", "fields": {"x": {"type": {"is": "int"}}, "y": {"type": NUMBER, "default": 0.0}}},
    {"is": "component", "kind": "head"},
]
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 4, 255, -1, 0.0, 0.5, 1.0, -0.1, 2.5, math.nan, math.inf, -math.inf, 10**17,
    "", "a", "b", "abc", "abcd", "1", "true", [], [0], [0.5], [1, 2], [1, 2, 3], ["a"], [1, "a"], [1, "a", 2], [None],
    [[1]], [math.nan], {}, {"a": True}, {"a": 1}, {"x": 1}, {"x": 1, "y": 0.5}, {"x": 1, "y": 2}, {"y": 0.5},
    {"x": 1, "z": 1}, {"x": None}, {"type": "a"},
]  # fmt: skip


@pytest.mark.parametrize("expr", EXPRESSIONS, ids=describe)
def test_pydantic_s_model_allows_the_same_values(expr: dict[str, Any]) -> None:
    model = model_of({"key": {"type": expr}})

    for value in VALUES:
        try:
            model.model_validate({"key": value})
            allowed = True
        except ValidationError:
            allowed = False
        if expr["is"] == "literal" and isinstance(value, (bool, float)):
            allowed = False  # pydantic takes 1.0 and true for 1; a recipe should say 1
        assert fits(expr, value) == allowed, value


def test_the_comparison_covers_enough() -> None:
    pairs = [(expr, value) for expr, value in itertools.product(EXPRESSIONS, VALUES) if fits(expr, value)]

    assert {expr["is"] for expr, _ in pairs} == {expr["is"] for expr in EXPRESSIONS}
    assert len(pairs) > 100


def test_no_fields_and_no_values() -> None:
    assert check_fields({}, {}, (), what='neck "identity"') == []
    assert check_fields({}, {"x": 1}, ("neck",), what='neck "identity"')[0].message == (
        'unknown key "x" of neck "identity"; it has no keys'
    )


def test_all_problems_come_together_in_the_order_of_the_file() -> None:
    fields = {name: {"type": {"is": "int", "ge": 0}} for name in "abc"}

    problems = check_fields(fields, {"b": -1, "z": 0, "a": "x"}, ("head",), what="head")

    assert [(problem.key, problem.message) for problem in problems] == [
        (("head", "b"), "found -1; expected a whole number >= 0"),
        (("head", "z"), 'unknown key "z" of head; allowed: a, b, c'),
        (("head", "a"), 'found "x"; expected a whole number >= 0'),
        (("head",), 'missing key "c" of head; expected a whole number >= 0'),
    ]


def test_words() -> None:
    assert shown(math.nan) == ".nan"
    assert shown(-math.inf) == "-.inf"
    assert shown("é" * 100) == '"' + "é" * 56 + "..."
    assert unknown("kind", "haed", ["head", "neck"]) == 'unknown kind "haed"; did you mean "head"? allowed: head, neck'
