"""The keys that every recipe has: what it is called, where it comes from, what it can name."""

from __future__ import annotations

from typing import Final

from detzoo.schema.nodes import (
    Boolean,
    DictOf,
    Field,
    Fields,
    Integer,
    ListOf,
    Literal,
    Null,
    Number,
    Settings,
    Text,
    Union,
)

_TEXT: Final = Text(min_length=1)
_OPTIONAL_TEXT: Final = Field(Union((_TEXT, Null())), default=None)

PAPER: Final[Fields] = {"title": Field(_TEXT), "url": Field(_TEXT)}
WEIGHTS: Final[Fields] = {
    "name": Field(_TEXT),
    "url": Field(_TEXT),
    "sha256": Field(Union((_TEXT, Null()))),  # written, even where nobody has published one: null
    "source": Field(_TEXT),
    "licence": Field(_TEXT),
    "note": _OPTIONAL_TEXT,
}
REPORTED: Final[Fields] = {
    "dataset": Field(_TEXT),
    "metric": Field(_TEXT),
    "value": Field(Number()),
    "protocol": Field(_TEXT),
    "source": Field(_TEXT),
    "verified": Field(Boolean(), default=True),
    "per_class": Field(DictOf(Number()), default={}),
}
_NAMES: Final = ListOf(Union((_TEXT, Null())), min_length=1)
HEADER: Final[Fields] = {
    "architecture": Field(_TEXT),
    "summary": Field(Text(), default=""),
    "paper": Field(Union((Settings(PAPER), Null())), default=None),
    "profile": Field(Literal(("paper", "torchvision", "port", "modern")), default="modern"),
    "num_classes": Field(Integer(ge=1, le=100_000)),
    "classes": Field(Union((_TEXT, _NAMES, Null())), default=None),
    "weights": Field(ListOf(Settings(WEIGHTS)), default=[]),
    "reported": Field(ListOf(Settings(REPORTED)), default=[]),
}
"""The keys of every recipe; ``input``, ``train`` and the slots of the meta-architecture are added to them."""
EXTENDS: Final[Fields] = {"extends": _OPTIONAL_TEXT, "providers": Field(DictOf(_TEXT), default={})}
"""Written in files (``providers`` in those of runs: plugin -> ``detzoo-ssd 0.1.0``); gone once a recipe is resolved."""
