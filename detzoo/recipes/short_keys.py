"""``--set lr=0.01``: a key of a recipe by its last part, where no other key ends so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detzoo.errors import RecipeError


def full_key(key: str, recipe: Mapping[str, Any], written: str) -> str:
    """``lr`` -> ``train.optimizer.lr``, where just one key of the recipe ends so; other keys as they are.

    Args:
        key: in short or in full.
        recipe: its values.
        written: how the user wrote the key, for messages.

    Raises:
        RecipeError: several keys end so.
    """
    if key.partition(".")[0].partition("[")[0] in recipe:
        return key
    found = [path for path in paths(recipe) if path.endswith(f".{key}")]
    if len(found) > 1:
        shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
        raise RecipeError(
            f"{written}: this recipe has {len(found)} keys that end so: {shown}; write one of them in full"
        )
    return found[0] if found else key


def paths(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Keys of nested mappings, joined by dots."""
    for name, value in values.items():
        path = f"{above}.{name}" if above else str(name)
        yield path
        if isinstance(value, Mapping):
            yield from paths(value, path)
