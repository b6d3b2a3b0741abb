"""Defaults of every level, filled into checked values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from detzoo.plugins.registry import Registry
from detzoo.schema.checking import fits
from detzoo.schema.nodes import (
    Boolean,
    ComponentOf,
    DictOf,
    Field,
    Fields,
    FixedTuple,
    ListOf,
    Node,
    Null,
    Number,
    Settings,
    Text,
    TupleOf,
    Union,
)

_BACKBONE: Final[Fields] = {
    "weights": Field(Union((Text(), Null())), default=None),
    "freeze": Field(Union((Boolean(), ListOf(Text()))), default=False),
}
"""Keys that every backbone has: where its weights lie, what of it is not trained."""
_SHARE: Final = Number(ge=0, le=1)
_TRANSFORM: Final[Fields] = {"active": Field(FixedTuple((_SHARE, _SHARE)), default=[0.0, 1.0])}
"""The key that every transform has: the share of the training in which it is used, from and up to."""
RESERVED_KEYS: Final[dict[str, Fields]] = {"backbone": _BACKBONE, "transform": _TRANSFORM}
"""By kind: the keys that the build reads itself."""


def component_fields(kind: str, name: str, registry: Registry) -> Fields:
    """The keys a component may have, the reserved ones included."""
    fields = registry.schema(registry.find(kind, name)).fields
    return fields | RESERVED_KEYS.get(kind, {})


def filled(fields: Fields, values: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """``values`` with the defaults of every level, in the order of the fields.

    Args:
        fields: that the values were checked against.
        values: by name.
        registry: that knows the components in them.
    """
    return {name: _filled(item.type, values.get(name, item.default), registry) for name, item in fields.items()}


def _filled(node: Node, value: Any, registry: Registry) -> Any:
    match node:
        case ComponentOf(kind) if isinstance(value, dict):
            fields = component_fields(kind, value["type"], registry)
            return {"type": value["type"]} | filled(fields, value, registry)
        case Settings(fields) if isinstance(value, dict):
            return filled(fields, value, registry)
        case Union(members):
            member = next((member for member in members if fits(member, value)), None)
            return value if member is None else _filled(member, value, registry)
        case ListOf(item) | TupleOf(item) if isinstance(value, list):
            return [_filled(item, element, registry) for element in value]
        case FixedTuple(items) if isinstance(value, list):
            return [_filled(item, element, registry) for item, element in zip(items, value, strict=True)]
        case DictOf(item) if isinstance(value, dict):
            return {name: _filled(item, element, registry) for name, element in value.items()}
        case Number() if isinstance(value, int):
            return float(value)
        case _:
            return value
