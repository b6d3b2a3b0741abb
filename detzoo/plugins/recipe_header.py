"""The keys that every recipe has: what it is called, where it comes from, what it can name."""

from __future__ import annotations

from typing import Final

from detzoo.schema.expressions import Fields

_TEXT: Final = {"is": "str", "min_length": 1}
_OPTIONAL_TEXT: Final = {"type": {"is": "union", "of": [_TEXT, {"is": "null"}]}, "default": None}
_NUMBER: Final = {"is": "float"}

PAPER: Final[Fields] = {"title": {"type": _TEXT}, "url": {"type": _TEXT}}
WEIGHTS: Final[Fields] = {
    "name": {"type": _TEXT},
    "url": {"type": _TEXT},
    "sha256": {"type": _TEXT},
    "source": {"type": _TEXT},
    "licence": {"type": _TEXT},
    "note": _OPTIONAL_TEXT,
}
REPORTED: Final[Fields] = {
    "dataset": {"type": _TEXT},
    "metric": {"type": _TEXT},
    "value": {"type": _NUMBER},
    "protocol": {"type": _TEXT},
    "source": {"type": _TEXT},
    "verified": {"type": {"is": "bool"}, "default": True},
    "per_class": {"type": {"is": "dict", "of": _NUMBER}, "default": {}},
}
_NAMES: Final = {"is": "list", "of": {"is": "union", "of": [_TEXT, {"is": "null"}]}, "min_length": 1}
HEADER: Final[Fields] = {
    "architecture": {"type": _TEXT},
    "summary": {"type": {"is": "str"}, "default": ""},
    "paper": {"type": {"is": "union", "of": [{"is": "settings", "fields": PAPER}, {"is": "null"}]}, "default": None},
    "profile": {"type": {"is": "literal", "values": ["paper", "torchvision", "port", "modern"]}, "default": "modern"},
    "num_classes": {"type": {"is": "int", "ge": 1, "le": 100_000}},
    "classes": {"type": {"is": "union", "of": [_TEXT, _NAMES, {"is": "null"}]}, "default": None},
    "weights": {"type": {"is": "list", "of": {"is": "settings", "fields": WEIGHTS}}, "default": []},
    "reported": {"type": {"is": "list", "of": {"is": "settings", "fields": REPORTED}}, "default": []},
}
"""The keys of every recipe; ``input``, ``train`` and the slots of the meta-architecture come beside them."""
EXTENDS: Final[Fields] = {"extends": _OPTIONAL_TEXT}
"""Written in files; gone once a recipe is resolved."""
