"""Checking values against a component's schema; pydantic, which derives the editors' schema, must agree."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from detzoo.recipes.editor_schema import model_of
from detzoo.schema.checking import check_fields, fits
from detzoo.schema.describing import describe, shown, unknown
from detzoo.schema.nodes import (
    Anything,
    Boolean,
    ComponentOf,
    DictOf,
    Field,
    FixedTuple,
    Integer,
    ListOf,
    Literal,
    Node,
    Null,
    Number,
    Settings,
    Text,
    TupleOf,
    Union,
)

NUMBER = Number(ge=0, lt=1)
NODES: list[Node] = [
    Boolean(),
    Integer(ge=1),
    Integer(gt=0, le=3),
    Integer(multiple_of=2),
    Number(),
    NUMBER,
    Text(),
    Text(min_length=1, max_length=3),
    Null(),
    Literal(("a", "b")),
    Literal((1, 255)),
    ListOf(NUMBER),
    ListOf(Integer(), min_length=1, max_length=2),
    FixedTuple((Integer(), Text())),
    TupleOf(Text()),
    DictOf(Boolean()),
    Union((Integer(), Null())),
    Union((Text(), ListOf(Integer()))),
    Union((ListOf(Integer()), FixedTuple((Text(),)))),
    Settings({"x": Field(Integer()), "y": Field(NUMBER, default=0.0)}),
    ComponentOf("head"),
    Anything(),
]
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 4, 255, -1, 0.0, 0.5, 1.0, -0.1, 2.5, math.nan, math.inf, -math.inf, 10**17,
    "", "a", "b", "abc", "abcd", "1", "true", [], [0], [0.5], [1, 2], [1, 2, 3], ["a"], [1, "a"], [1, "a", 2], [None],
    [[1]], [math.nan], {}, {"a": True}, {"a": 1}, {"x": 1}, {"x": 1, "y": 0.5}, {"x": 1, "y": 2}, {"y": 0.5},
    {"x": 1, "z": 1}, {"x": None}, {"type": "a"},
]  # fmt: skip


@pytest.mark.parametrize("node", NODES, ids=describe)
def test_pydantic_s_model_allows_the_same_values(node: Node) -> None:
    model = model_of({"key": Field(node)})

    for value in VALUES:
        try:
            model.model_validate({"key": value})
            allowed = True
        except ValidationError:
            allowed = False
        if isinstance(node, Literal) and isinstance(value, (bool, float)):
            allowed = False  # pydantic takes 1.0 and true for 1; a recipe should say 1
        assert fits(node, value) == allowed, value


def test_the_comparison_covers_enough() -> None:
    pairs = [(node, value) for node, value in itertools.product(NODES, VALUES) if fits(node, value)]

    assert {type(node) for node, _ in pairs} == set(get_args(Node))
    assert len(pairs) > 100


def test_no_fields_and_no_values() -> None:
    assert check_fields({}, {}, (), what='neck "identity"') == []
    assert check_fields({}, {"x": 1}, ("neck",), what='neck "identity"')[0].message == (
        'unknown key "x" of neck "identity"; it has no keys'
    )


def test_all_problems_come_together_in_the_order_of_the_file() -> None:
    fields = {name: Field(Integer(ge=0)) for name in "abc"}

    problems = check_fields(fields, {"b": -1, "z": 0, "a": "x"}, ("head",), what="head")

    assert [(problem.key, problem.message) for problem in problems] == [
        (("head", "b"), "found -1; expected a whole number >= 0"),
        (("head", "z"), 'unknown key "z" of head; allowed: a, b, c'),
        (("head", "a"), 'found "x"; expected a whole number >= 0'),
        (("head",), 'missing key "c" of head; expected a whole number >= 0'),
    ]


def test_a_whole_number_fits_where_torch_can_hold_it() -> None:
    assert all(fits(Integer(), value) for value in (2**63 - 1, -(2**63)))
    assert not any(fits(Integer(), value) for value in (2**63, -(2**63) - 1, 10**400))


def test_words() -> None:
    assert shown(math.nan) == ".nan"
    assert shown(-math.inf) == "-.inf"
    assert shown("é" * 100) == '"' + "é" * 56 + "..."
    assert unknown("kind", "haed", ["head", "neck"]) == 'unknown kind "haed"; did you mean "head"? allowed: head, neck'
