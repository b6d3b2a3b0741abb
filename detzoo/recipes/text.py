"""Recipes as text: YAML, JSON, with origins, and the difference of two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detzoo.recipes.recipe import Recipe, load_recipe
from detzoo.runtime.foreign_files import is_folder
from detzoo.schema.describing import shown
from detzoo.schema.yaml_source import Key, show_key


def recipe_of(target: str) -> Recipe:
    """The recipe of a name, a file, or a run folder (its ``recipe.yaml``)."""
    path = Path(target)
    return load_recipe(path / "recipe.yaml" if is_folder(path) else target)


def as_yaml(recipe: Recipe) -> str:
    """A file of one's own that builds the same detector."""
    return recipe.to_yaml().rstrip()


def as_json(recipe: Recipe) -> str:
    """The resolved values."""
    return json.dumps(recipe.values, indent=2)


def with_origins(recipe: Recipe) -> str:
    """One line per value: path, value, where it was written; then what replacing components dropped."""
    rows = [(show_key(key), shown(value), recipe.origin(key)) for key, value in leaves(recipe.values)]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    lines = [f"{path:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for path, value, origin in rows]
    chain = " <- ".join(reversed(recipe.chain))
    dropped = [f"dropped: {line}" for line in recipe.dropped]
    return "\n".join([f"layers: {chain}", *lines, *dropped])


def difference(a: Recipe, b: Recipe) -> str:
    """Keys of either recipe whose values differ, as ``path: a -> b``; ``-`` where a side has no such key."""
    left, right = dict(leaves(a.values)), dict(leaves(b.values))
    keys = [*left, *(key for key in right if key not in left)]
    lines = []
    for key in keys:
        texts = [shown(side[key], limit=None) if key in side else "-" for side in (left, right)]
        if texts[0] != texts[1]:
            lines.append(f"{show_key(key)}: {texts[0]} -> {texts[1]}")
    return "\n".join(lines) or "no difference"


def leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Scalars and flat lists with their paths; mappings and lists of mappings are entered."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*key, name))
    elif isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        for i, inner in enumerate(value):
            yield from leaves(inner, (*key, i))
    else:
        yield key, value
