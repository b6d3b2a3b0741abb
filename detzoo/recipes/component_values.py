"""Configurations outside any recipe: one component by itself, or the settings of a command; checked as a recipe's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detzoo.errors import RecipeError
from detzoo.plugins.registry import get_registry
from detzoo.recipes.filling import filled
from detzoo.recipes.merge import Merged, parse_override
from detzoo.recipes.recipe import check_component, check_inside
from detzoo.schema.checking import Problem, check_fields
from detzoo.schema.nodes import ComponentOf, Field, Fields
from detzoo.schema.yaml_source import show_key


def load_component(kind: str, name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """One component's configuration.

    Args:
        kind: of the component.
        name: of the component.
        overrides: ``key=value`` each.

    Returns:
        ``{"type": name, ...}`` with every default.

    Raises:
        RecipeError: everything that is wrong with it.
    """
    registry = get_registry()
    merged = _merged({"type": name}, overrides)
    _refuse(check_component(kind, merged.value, (), registry), merged)
    values: dict[str, Any] = filled({"it": Field(ComponentOf(kind))}, {"it": merged.value}, registry)["it"]
    return values


def load_settings(fields: Fields, written: dict[str, Any], overrides: Sequence[str], *, what: str) -> dict[str, Any]:
    """The settings of a command.

    Args:
        fields: that they may have.
        written: what the command sets itself.
        overrides: ``key=value`` each.
        what: they belong to, for messages.

    Returns:
        every field, with every default.

    Raises:
        RecipeError: everything that is wrong with them.
    """
    registry = get_registry()
    merged = _merged(written, overrides)
    problems = check_fields(fields, merged.value, (), what=what)
    _refuse(problems + check_inside(fields, merged.value, (), registry), merged)
    return filled(fields, merged.value, registry)


def _merged(written: dict[str, Any], overrides: Sequence[str]) -> Merged:
    merged = Merged(value=written)
    for path, value in map(parse_override, overrides):
        merged.override(path, value)
    return merged


def _refuse(problems: Sequence[Problem], merged: Merged) -> None:
    if problems:
        written = [f"--set {show_key(problem.key)}: " if problem.key in merged.marks else "" for problem in problems]
        raise RecipeError("\n".join(where + p.message for where, p in zip(written, problems, strict=True)))
