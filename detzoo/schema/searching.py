"""Finding the components inside a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detzoo.schema.nodes import ComponentOf, DictOf, FixedTuple, ListOf, Node, Settings, TupleOf, Union
from detzoo.schema.yaml_source import Key


def components_in(  # noqa: C901, PLR0912 - one case per node
    node: Node, value: Any, key: Key
) -> Iterator[tuple[ComponentOf, Any, Key]]:
    """Every place inside ``value`` where ``node`` expects a component, with what stands there.

    Components inside those are not entered: only a registry knows their keys.
    """
    match node:
        case ComponentOf():
            yield node, value, key
        case Union(members) if value is not None:
            for member in members:
                yield from components_in(member, value, key)
        case ListOf(item) | TupleOf(item) if isinstance(value, list):
            for i, element in enumerate(value):
                yield from components_in(item, element, (*key, i))
        case FixedTuple(items) if isinstance(value, list):
            for i, (item, element) in enumerate(zip(items, value, strict=False)):
                yield from components_in(item, element, (*key, i))
        case DictOf(item) if isinstance(value, dict):
            for name, element in value.items():
                yield from components_in(item, element, (*key, name))
        case Settings(fields) if isinstance(value, dict):
            for name, field in fields.items():
                if name in value:
                    yield from components_in(field.type, value[name], (*key, name))
        case _:
            pass
