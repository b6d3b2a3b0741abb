"""``conformance:`` of a manifest: what the conformance kit cannot know of a plugin by itself.

Its keys name a component ``kind/name``; failures may also be those of a recipe, ``recipe/name``, or of the plugin as a
whole, ``plugin``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from detzoo.schema.checking import Problem
from detzoo.schema.describing import shown, unknown
from detzoo.schema.nodes import Anything, DictOf, Field, Fields, ListOf, Null, Text, Union

_TEXT: Final = Text(min_length=1)
FIELDS: Final[Fields] = {
    "examples": Field(DictOf(DictOf(Anything())), default={}),
    "expected_failures": Field(DictOf(DictOf(_TEXT)), default={}),
    "packages": Field(DictOf(_TEXT), default={}),
    "small": Field(DictOf(DictOf(Anything())), default={}),
    "recipes": Field(Union((ListOf(_TEXT), Null())), default=None),
}
PLUGIN: Final = "plugin"
"""Key of the plugin as a whole among the expected failures."""


@dataclass(frozen=True)
class Conformance:
    """What an author tells the kit.

    Args:
        examples: values for components that no recipe uses, or that a large recipe uses alone: ``kind/name`` -> its
            keys.
        expected_failures: checks that cannot be kept, for a good reason: key -> check -> the reason.
        packages: optional packages that components need, by ``kind/name``, as they are imported (``sklearn``); where
            one is missing, their checks are skipped.
        recipes: names of those that the kit builds, trains a step and predicts with; None for all. Large ones take
            minutes each, or more memory than a test machine has.
        small: values of components with which a recipe is quick to try, and does the same otherwise (fewer regions, a
            narrower network): ``kind/name`` -> keys. The kit's trials of recipes and the matrix use them.
    """

    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expected_failures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    recipes: tuple[str, ...] | None = None
    small: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_conformance(value: Mapping[str, Any]) -> Conformance:
    """The checked value of ``conformance:``."""
    recipes = value.get("recipes")
    return Conformance(
        examples=value.get("examples", {}),
        expected_failures=value.get("expected_failures", {}),
        packages=value.get("packages", {}),
        recipes=None if recipes is None else tuple(recipes),
        small=value.get("small", {}),
    )


def check_conformance(
    value: Mapping[str, Any], components: Collection[str], detectors: Collection[str]
) -> list[Problem]:
    """Names in a value of the right types that belong to nothing the manifest declares.

    The names of checks are compared when the kit runs.

    Args:
        value: of ``conformance:``.
        components: ``kind/name`` of every component.
        detectors: names of the recipes.
    """
    everything = [*components, *(f"recipe/{name}" for name in detectors), PLUGIN]
    known = {"examples": components, "packages": components, "small": components, "expected_failures": everything}
    problems = [
        Problem(("conformance", section, name), unknown("component", name, names))
        for section, names in known.items()
        for name in value.get(section, {})
        if name not in names
    ]
    for name, package in value.get("packages", {}).items():
        if not package.isidentifier():
            told = f"found {shown(package)}; expected the name by which the package is imported, as sklearn"
            problems.append(Problem(("conformance", "packages", name), told))
    for i, name in enumerate(value.get("recipes") or ()):
        if name not in detectors:
            problems.append(Problem(("conformance", "recipes", i), unknown("recipe", name, detectors)))
    return problems
