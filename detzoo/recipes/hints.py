"""What a problem of a recipe means to say, beyond what its schema knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detzoo.recipes.merge import keys_in
from detzoo.schema.checking import Problem
from detzoo.schema.describing import shown
from detzoo.schema.nodes import Fields, Settings, Union
from detzoo.schema.yaml_source import Key, show_key


def deeper(problem: Problem, fields: Fields, values: dict[str, Any]) -> Problem:
    """A hint for an unknown key that is a known one further down: ``lr`` and ``train.lr``."""
    *above, name = problem.key or ("",)
    if not problem.message.startswith("unknown key") or len(above) > 1:
        return problem
    known = {*keys_in(values), *_keys_of(fields)} - {problem.key}
    found = [show_key(key) for key in known if key[-1:] == (name,) and key[: len(above)] == tuple(above)]
    if not found:
        return problem
    return Problem(problem.key, f"{problem.message}; further down there is {' and '.join(sorted(found)[:5])}")


def _keys_of(fields: Fields, above: Key = ()) -> Iterator[Key]:
    """The keys of settings and of those inside them, written or not."""
    for name, item in fields.items():
        yield (*above, name)
        members = item.type.members if isinstance(item.type, Union) else (item.type,)
        for node in members:
            if isinstance(node, Settings):
                yield from _keys_of(node.fields, (*above, name))


def of_a_size(problem: Problem, values: dict[str, Any]) -> Problem:
    """How sizes are written, for one that is written otherwise."""
    size = values["input"].get("size") if isinstance(values.get("input"), dict) else None
    if problem.key != ("input", "size") or (isinstance(size, (list, tuple)) and len(size) == 2):
        return problem
    return Problem(problem.key, f"found {shown(size)}; a size is written [height, width], as [480, 640] px")
