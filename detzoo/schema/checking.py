"""Comparing values with the types of their keys.

Values are checked against nodes directly: making a pydantic model costs more than the whole of ``detzoo list``, and its
errors do not say which key of which component is meant. The models that ``editor_schema.py`` derives from the same
nodes accept the same values, which a test compares.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from detzoo.schema.describing import describe, shown, unknown
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
    Settings,
    Text,
    TupleOf,
    Union,
)
from detzoo.schema.yaml_source import Key, show_key

_BEYOND_INT64: Final = 2**63
_LARGEST: Final = sys.float_info.max
_MOST_UNKNOWN: Final = 20
"""Unknown keys of a mapping that are named."""
_SCALARS: Final = (Boolean, Integer, Number, Text, Null, Literal)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where (a path of keys) and what."""

    key: Key
    message: str


def check_fields(fields: Fields, config: dict[str, Any], key: Key, *, what: str) -> list[Problem]:
    """Compare a mapping with the fields it may have; nested components are not entered.

    Args:
        fields: by name.
        config: the mapping, without its ``type``.
        key: where it stands.
        what: ``head "ssd"``, for messages.
    """
    return list(_mapping_problems(fields, config, key, what))


def fits(node: Node, value: Any) -> bool:
    """Whether a value is allowed; whatever stands where a component belongs is."""
    if isinstance(node, _SCALARS):  # most are: no message need be made
        return _scalar_fits(node, value)
    return next(_problems(node, value, ()), None) is None


def _mapping_problems(fields: Fields, config: dict[str, Any], key: Key, what: str) -> Iterator[Problem]:
    strangers = 0
    for name, value in config.items():
        if name in fields:
            yield from _problems(fields[name].type, value, (*key, name))
            continue
        strangers += 1
        if strangers <= _MOST_UNKNOWN:  # the nearest names of thousands would take long, and nobody reads them
            yield Problem((*key, name), unknown("key", name, fields, of=what))
    if strangers > _MOST_UNKNOWN:
        yield Problem(key, f"{strangers - _MOST_UNKNOWN:,} more keys of {what} are unknown")
    for name, item in fields.items():
        if name not in config and item.required:
            yield Problem(key, f'missing key "{name}" of {what}; expected {describe(item.type)}')


def _problems(node: Node, value: Any, key: Key) -> Iterator[Problem]:
    match node:
        case ComponentOf() | Anything():
            pass
        case Union():
            yield from _union_problems(node, value, key)
        case ListOf(item) | TupleOf(item) if isinstance(value, list) and _sized(node, value):
            for i, element in enumerate(value):
                yield from _problems(item, element, (*key, i))
        case FixedTuple(items) if isinstance(value, list) and _sized(node, value):
            for i, (item, element) in enumerate(zip(items, value, strict=True)):
                yield from _problems(item, element, (*key, i))
        case Settings(fields) if isinstance(value, dict):
            yield from _mapping_problems(fields, value, key, show_key(key))
        case DictOf(item) if isinstance(value, dict):
            for name, element in value.items():
                yield from _problems(item, element, (*key, name))
        case _:
            if not _scalar_fits(node, value):
                yield _refused(node, value, key)


def _union_problems(union: Union, value: Any, key: Key) -> Iterator[Problem]:
    meant = _meant(union, value)
    if meant is None:
        allowed = any(fits(member, value) for member in union.members)
    else:
        allowed = not isinstance(value, list) or _sized(meant, value)
    if not allowed:
        yield _refused(union, value, key)
    elif meant is not None:
        yield from _problems(meant, value, key)


def _meant(union: Union, value: Any) -> Node | None:
    """The member that a list or mapping is meant for, where only one can take it: its inner errors are the clearest."""
    if not isinstance(value, (dict, list)):
        return None
    takers = (Settings, DictOf, ComponentOf) if isinstance(value, dict) else (ListOf, TupleOf, FixedTuple)
    able = [member for member in union.members if isinstance(member, takers)]
    return able[0] if len(able) == 1 else None


def _refused(node: Node, value: Any, key: Key) -> Problem:
    expected = describe(node)
    if isinstance(value, float) and not math.isfinite(value):
        expected = expected.replace("a number", "a finite number")
    return Problem(key, f"found {shown(value)}; expected {expected}")


def _scalar_fits(node: Node, value: Any) -> bool:
    """Whether ``node`` is a scalar's and allows the value; bool is no number, and a whole number is a float too."""
    match node:
        case Number():
            # the comparison is false for nan, and exact for whole numbers that no float can hold
            return type(value) in (float, int) and -_LARGEST <= value <= _LARGEST and _within(node, value)
        case Integer():
            fits_torch = type(value) is int and -_BEYOND_INT64 <= value < _BEYOND_INT64
            return fits_torch and _within(node, value) and value % (node.multiple_of or 1) == 0
        case Null():
            return value is None
        case Literal(values):
            return any(value == allowed and type(value) is type(allowed) for allowed in values)
        case Text():
            return type(value) is str and _sized(node, value)
        case Boolean():
            return type(value) is bool
        case _:
            return False


def _within(node: Integer | Number, value: float) -> bool:
    return (
        (node.ge is None or value >= node.ge)
        and (node.gt is None or value > node.gt)
        and (node.le is None or value <= node.le)
        and (node.lt is None or value < node.lt)
    )


def _sized(node: Node, value: str | list[Any]) -> bool:
    match node:
        case FixedTuple(items):
            return len(value) == len(items)
        case ListOf() | TupleOf() | Text():
            longest = len(value) if node.max_length is None else node.max_length
            return (node.min_length or 0) <= len(value) <= longest
        case _:
            return True
