"""What a key of a configuration may hold, as typed nodes.

A class' signature is read into nodes (``signature.py``), and so is what manifests store of it (``reading.py``,
``writing.py``). Whoever asks something of a type has one function with one ``match`` over these classes:

- checking: ``detzoo.schema.checking``; describing: ``detzoo.schema.describing``;
- finding the components inside: ``detzoo.schema.searching``;
- filling in defaults: ``detzoo.recipes.filling``; the editors' JSON Schema: ``detzoo.recipes.editor_schema``;
- building: ``detzoo.builder``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

BOUNDS: Final = ("ge", "gt", "le", "lt")
"""Of numbers: >=, >, <=, <."""
WHOLE: Final = ("multiple_of",)
"""Further limits of whole numbers."""
LENGTHS: Final = ("min_length", "max_length")
"""Of text and lists."""
LIMITS: Final = (*BOUNDS, *WHOLE, *LENGTHS)


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number, within bounds where they are given."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    multiple_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A finite number, within bounds where they are given; a whole number is one too, and becomes a float."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Text of so many characters."""

    min_length: int | None = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Null:
    """``null``."""


@dataclass(frozen=True, slots=True)
class Literal:
    """One of a few values; 1 and true are different ones."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, all of whose elements are of one type."""

    item: Node
    min_length: int | None = field(default=None, kw_only=True)
    max_length: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class TupleOf:
    """The same, which becomes a tuple when it is built."""

    item: Node
    min_length: int | None = field(default=None, kw_only=True)
    max_length: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class FixedTuple:
    """A list of fixed length, each of whose elements has its own type; becomes a tuple."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class DictOf:
    """A mapping from any names to values of one type."""

    value: Node


@dataclass(frozen=True, slots=True)
class Union:
    """Any of several types; of two that fit, the first counts."""

    members: tuple[Node, ...]


@dataclass(frozen=True)
class Scope:
    """What is supplied differently below a parameter, written in ``Annotated[Head, Scope(num_classes=1)]``."""

    num_classes: int

    def supplies(self) -> dict[str, int]:
        """What replaces the build's own, by name."""
        return {"num_classes": self.num_classes}


@dataclass(frozen=True, slots=True)
class ComponentOf:
    """A component of a kind: a mapping with ``type`` and the keys of the class of that name."""

    kind: str
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """A mapping with known keys.

    Args:
        fields: the keys.
        cls: the dataclass that it builds; None where it was read from a manifest, which knows no classes.
    """

    fields: Fields
    cls: type[Any] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Anything:
    """Whatever stands there: in manifests, keys of a component, which are checked when it is built."""


Node: TypeAlias = (
    Boolean
    | Integer
    | Number
    | Text
    | Null
    | Literal
    | ListOf
    | TupleOf
    | FixedTuple
    | DictOf
    | Union
    | ComponentOf
    | Settings
    | Anything
)


REQUIRED: Final = object()
"""In place of a default: the key must be written."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key: its type, and its default as YAML would hold it, if it has one."""

    type: Node
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether the key must be written."""
        return self.default is REQUIRED


Fields: TypeAlias = dict[str, Field]


@dataclass(frozen=True, slots=True)
class Schema:
    """Of one component or settings class.

    Args:
        supplies: names of its positional-only parameters, which the build supplies.
        fields: its keyword-only parameters, which are the keys of the recipe.
    """

    supplies: tuple[str, ...] = ()
    fields: Fields = field(default_factory=dict)


def limits(node: Integer | Number | Text | ListOf | TupleOf) -> dict[str, Any]:
    """The bounds that a node has, by name; lengths are bounds too."""
    names = [item.name for item in dataclasses.fields(node) if item.name in LIMITS]
    return {name: limit for name in names if (limit := getattr(node, name)) is not None}
