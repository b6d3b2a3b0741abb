"""What the name of a split says: whether it is learned from, chosen by, or only evaluated on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

Role: TypeAlias = Literal["train", "val", "test", "union"]

_WORDS: Final[dict[str, Role]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "minival": "val",
    "test": "test",
    "testing": "test",
    "trainval": "union",
    "all": "union",
}
EXPECTED: Final = "train, val (valid, validation, dev), test"
"""For messages."""


def role_of(name: str) -> Role | None:
    """``val`` for ``Validation``, ``val2017``, ``valid`` or ``cells_val``; ``union`` for ``trainval`` and ``all``.

    None where no word of the name says it, or several contradict each other.
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    found = {_WORDS[word.lower()] for word in words if word.lower() in _WORDS}
    if found == {"train", "val"}:
        return "union"
    if found == {"test", "val"} and "dev" in {word.lower() for word in words}:  # COCO's test-dev
        return "test"
    return found.pop() if len(found) == 1 else None


def with_role(names: Iterable[str], role: Role) -> tuple[str, ...]:
    """The names of one role: those that are the role's own word first, then as they come."""
    found = [name for name in names if role_of(name) == role]
    return tuple(sorted(found, key=lambda name: list(_WORDS).index(name.lower()) if name.lower() in _WORDS else 99))
