"""Schemas survive the JSON of manifests; what is no schema is refused with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from detzoo.errors import PluginError
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
    Null,
    Number,
    Schema,
    Scope,
    Settings,
    Text,
    TupleOf,
    Union,
)
from detzoo.schema.reading import read_schema
from detzoo.schema.writing import write_schema

EVERYTHING = Schema(
    ("features", "num_classes"),
    {
        "boolean": Field(Boolean(), default=False),
        "integer": Field(Integer(ge=1, lt=9, multiple_of=2)),
        "number": Field(Number(gt=0.5, le=1), default=1),
        "text": Field(Text(min_length=1, max_length=3)),
        "null": Field(Null(), default=None),
        "anything": Field(Anything()),
        "literal": Field(Literal(("a", 1, True))),
        "list": Field(ListOf(Integer(), min_length=1), default=[1, 2]),
        "tuple": Field(TupleOf(Number(), max_length=4)),
        "fixed": Field(FixedTuple((Integer(), Text()))),
        "dict": Field(DictOf(ListOf(Number())), default={}),
        "union": Field(Union((ComponentOf("head", Scope(num_classes=1)), Null())), default=None),
        "settings": Field(Settings({"x": Field(ComponentOf("neck"))})),
    },
)


def test_the_empty_schema() -> None:
    assert write_schema(Schema()) == {"supplies": [], "fields": {}}
    assert read_schema({"supplies": [], "fields": {}}, "a:1") == Schema()


def test_what_is_written_is_read_as_it_was() -> None:
    assert read_schema(json.loads(json.dumps(write_schema(EVERYTHING))), "a:1") == EVERYTHING


def test_the_json_of_a_few() -> None:
    fields = write_schema(EVERYTHING)["fields"]
    assert fields["integer"] == {"type": {"is": "int", "ge": 1, "lt": 9, "multiple_of": 2}}
    assert fields["list"] == {"type": {"is": "list", "of": {"is": "int"}, "min_length": 1}, "default": [1, 2]}
    assert fields["fixed"] == {"type": {"is": "tuple", "items": [{"is": "int"}, {"is": "str"}]}}
    assert fields["null"] == {"type": {"is": "null"}, "default": None}
    head = {"is": "component", "kind": "head", "scope": {"num_classes": 1}}
    assert fields["union"] == {"type": {"is": "union", "of": [head, {"is": "null"}]}, "default": None}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "head/a: found []; expected a mapping"),
        ({"supplies": []}, 'head/a: missing key "fields"'),
        ({"supplies": [], "fields": [1]}, "head/a.fields: found [1]; expected a mapping"),
        ({"supplies": "features", "fields": {}}, 'head/a.supplies: found "features"; expected a list'),
        ({"supplies": [], "fields": {"x": {"default": 1}}}, 'head/a.fields.x: missing key "type"'),
    ],
)
def test_no_schema(value: Any, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        read_schema(value, "file:3", ("head/a",))

    assert str(caught.value) == f"file:3: {message}; `detzoo registry sync` writes it again"


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("int", 'type: found "int"; expected a mapping'),
        ({}, 'type: unknown type "None"; '),
        ({"is": "integer"}, 'type: unknown type "integer"; did you mean '),
        ({"is": "int", "min_length": 1}, 'type.min_length: unknown key "min_length"'),
        ({"is": "int", "ge": "1"}, 'type.ge: found "1"; expected a number'),
        ({"is": "float", "multiple_of": 2}, 'type.multiple_of: unknown key "multiple_of"'),
        ({"is": "list"}, 'type: missing key "of"'),
        ({"is": "literal", "values": "ab"}, 'type.values: found "ab"; expected a list'),
        ({"is": "union", "of": [{"is": "null"}, {"is": "x"}]}, 'type.of[1]: unknown type "x"'),
        ({"is": "component", "kind": 3}, "type.kind: found 3; expected the name of a kind"),
        ({"is": "component", "kind": "head", "scope": {"k": 1}}, 'type.scope: missing key "num_classes"'),
        ({"is": "settings", "fields": {"y": {"type": {"is": "x"}}}}, 'type.fields.y.type: unknown type "x"'),
    ],
)
def test_no_type(node: Any, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        read_schema({"supplies": [], "fields": {"x": {"type": node}}}, "file:3", ("a",))

    assert str(caught.value).startswith(f"file:3: a.fields.x.{message}")
