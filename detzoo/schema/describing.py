"""Words for messages: what a type allows, what was found, which name was probably meant."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from detzoo.runtime.near_names import nearest
from detzoo.schema.nodes import (
    Anything,
    Boolean,
    ComponentOf,
    DictOf,
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
    limits,
)

_SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}


def describe(node: Node) -> str:  # noqa: C901, PLR0911, PLR0912 - one case per node
    """What a type allows, as text."""
    match node:
        case Boolean():
            return "true or false"
        case Integer():
            return _bounded("a whole number", node)
        case Number():
            return _bounded("a number", node)
        case Text():
            return "text"
        case Null():
            return "null"
        case Anything():
            return "anything"
        case Literal(values):
            return "one of " + ", ".join(shown(value) for value in values)
        case Union(members):
            return " or ".join(describe(member) for member in members)
        case ComponentOf(kind):
            return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} component: {{type: NAME, ...}}"
        case Settings(fields):
            return f"a mapping with the keys {', '.join(fields)}"
        case DictOf(value):
            return f"a mapping, each value {describe(value)}"
        case FixedTuple(items):
            return f"a list of {len(items)}: {', '.join(describe(item) for item in items)}"
        case ListOf(item) | TupleOf(item):
            least = f" of at least {node.min_length}" if node.min_length else ""
            return f"a list{least}, each element {describe(item)}"


def shown(value: Any, *, limit: int | None = 60) -> str:
    """A value as YAML would write it, shortened to ``limit`` characters."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if limit is None or len(text) <= limit else text[: limit - 3] + "..."


def unknown(what: str, name: str, known: Iterable[str], *, of: str = "") -> str:
    """The sentence for a name that is not among the known ones."""
    names = sorted(known)
    hint = nearest(name, names)
    allowed = f"allowed: {', '.join(names)}" if names else "it has no keys"
    return f"unknown {what} {shown(name)}{' of ' + of if of else ''}; {hint + ' ' if hint else ''}{allowed}"


def first_of(lines: Sequence[str], most: int = 30) -> str:
    """Lines of a message, and how many more there are."""
    more = [f"... and {len(lines) - most:,} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])


def _bounded(noun: str, node: Integer | Number) -> str:
    """``a number > 0 and <= 1``."""
    bounds = " and ".join(f"{_SIGNS[name]} {bound:g}" for name, bound in limits(node).items())
    return f"{noun} {bounds}".rstrip()
