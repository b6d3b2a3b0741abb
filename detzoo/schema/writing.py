"""Nodes as the JSON that manifests store, a line per component.

The forms::

    {"is": "bool" | "int" | "float" | "str" | "null"}
                              with ge, gt, le, lt, multiple_of, min_length, max_length where they hold
    {"is": "literal", "values": [...]}
    {"is": "list" | "dict", "of": T}      {"is": "tuple", "items": [T, ...]}      {"is": "tuple", "of": T}
    {"is": "union", "of": [T, ...]}       {"is": "component", "kind": "head", "scope": {"num_classes": 1}}
    {"is": "settings", "fields": {name: {"type": T, "default": value}}}
    {"is": "any"}
"""

from __future__ import annotations

import dataclasses
from typing import Any

from detzoo.schema.nodes import (
    Anything,
    Boolean,
    ComponentOf,
    DictOf,
    Fields,
    FixedTuple,
    Integer,
    ListOf,
    Literal,
    Node,
    Null,
    Number,
    Schema,
    Settings,
    Text,
    TupleOf,
    Union,
    limits,
)


def write_schema(schema: Schema) -> dict[str, Any]:
    """``{"supplies": [...], "fields": {...}}``, plain JSON."""
    return {"supplies": list(schema.supplies), "fields": _fields(schema.fields)}


def write_node(node: Node) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912 - one case per node
    """One type as JSON."""
    match node:
        case Boolean():
            return {"is": "bool"}
        case Integer():
            return {"is": "int", **limits(node)}
        case Number():
            return {"is": "float", **limits(node)}
        case Text():
            return {"is": "str", **limits(node)}
        case Null():
            return {"is": "null"}
        case Anything():
            return {"is": "any"}
        case Literal(values):
            return {"is": "literal", "values": list(values)}
        case ListOf(item):
            return {"is": "list", "of": write_node(item), **limits(node)}
        case TupleOf(item):
            return {"is": "tuple", "of": write_node(item), **limits(node)}
        case FixedTuple(items):
            return {"is": "tuple", "items": [write_node(item) for item in items]}
        case DictOf(value):
            return {"is": "dict", "of": write_node(value)}
        case Union(members):
            return {"is": "union", "of": [write_node(member) for member in members]}
        case ComponentOf(kind, scope):
            return {"is": "component", "kind": kind} | ({} if scope is None else {"scope": dataclasses.asdict(scope)})
        case Settings(fields):
            return {"is": "settings", "fields": _fields(fields)}


def _fields(fields: Fields) -> dict[str, Any]:
    return {
        name: {"type": write_node(item.type)} | ({} if item.required else {"default": item.default})
        for name, item in fields.items()
    }
