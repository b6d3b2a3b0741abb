"""Recipes to start from: each holds a head, and says with which parts around it that head is known to work."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from detzoo.errors import DetzooError
from detzoo.plugins.entries import key_of
from detzoo.plugins.registry import get_registry
from detzoo.recipes.compatibility import is_head
from detzoo.recipes.places import Place, places
from detzoo.recipes.recipe import load_recipe
from detzoo.recipes.small_values import small_values
from detzoo.schema.checking import fits
from detzoo.schema.nodes import ComponentOf, Fields, Node
from detzoo.schema.yaml_source import show_key

PARTS: Final = ("backbone", "neck", "matcher", "loss", "postprocess")
"""Kinds that are swapped around a head."""


@dataclass(frozen=True)
class Frame:
    """A recipe, seen from one of its heads.

    Args:
        recipe: its name.
        head: where the head stands.
        slots: kind -> the component of that kind that serves this head.
    """

    recipe: str
    head: Place
    slots: Mapping[str, Place]

    def has(self, kind: str, name: str) -> bool:
        """Whether a component stands there already."""
        return kind in self.slots and self.slots[kind].is_of(kind, name)

    def swap(self, kind: str, name: str, *, carry: bool) -> str | None:
        """The override that puts another component there; None where it stands there already.

        Args:
            kind: of ``PARTS``; the frame has a slot for it.
            name: of the component.
            carry: keep the recipe's values for parameters that both have, instead of the component's own defaults.
        """
        if self.has(kind, name):
            return None
        old = self.slots[kind]
        values = {"type": name} | example(kind, name) | (carried(old.values, kind, name) if carry else {})
        values |= small_values(kind, name)
        for field, item in _required(kind, name).items():
            if field not in values and _is_of(item.type, kind):
                values[field] = dict(old.values)  # one that wraps another: a pyramid of images around a backbone
        return f"{show_key(old.key)}={json.dumps(values)}"


@cache
def frames(head: str | None = None) -> tuple[Frame, ...]:
    """Recipes that use a head (or any), the smallest input first; none with the same parts and values twice."""
    found: dict[str, Frame] = {}
    for recipe, values in sorted(resolved().items(), key=lambda item: (_area(item[1]), item[0])):
        named = places(values)
        for place in named:
            if (head is None or place.is_of(place.kind, head)) and is_head(place, get_registry()):
                frame = Frame(recipe, place, _slots(place, named))
                found.setdefault(_sameness(frame), frame)
    return tuple(found.values())


@cache
def resolved() -> dict[str, Mapping[str, Any]]:
    """Recipe -> values, of those that resolve: a plugin's broken recipe is no reason to try nothing."""
    found: dict[str, Mapping[str, Any]] = {}
    for recipe in get_registry().detectors():
        with contextlib.suppress(DetzooError):
            found[recipe] = load_recipe(recipe).values
    return found


def _area(values: Mapping[str, Any]) -> int:
    """Pixels of the input; much where the recipe fixes none."""
    height, width = values["input"]["size"] or (10_000, 10_000)
    return int(height) * int(width)


def _slots(head: Place, named: list[Place]) -> dict[str, Place]:
    """Of each kind, the nearest component: next to the head, else next to what holds it."""
    slots: dict[str, Place] = {}
    for place in named:
        around = place.key[:-1]
        nearer = place.kind not in slots or len(place.key) > len(slots[place.kind].key)
        if place.kind in PARTS and head.key[: len(around)] == around and nearer:
            slots[place.kind] = place
    return slots


def _sameness(frame: Frame) -> str:
    """Equal for frames in which a swapped backbone, neck or matcher would meet the same."""
    levels = frame.slots["backbone"].values.get("levels")
    others = [dict(place.values) for kind, place in frame.slots.items() if kind != "backbone"]
    return json.dumps([frame.head.key, dict(frame.head.values), levels, others], sort_keys=True, default=str)


def fields_of(kind: str, name: str) -> Fields:
    """The parameters of a component."""
    registry = get_registry()
    return registry.schema(registry.find(kind, name)).fields


def _required(kind: str, name: str) -> Fields:
    return {field: item for field, item in fields_of(kind, name).items() if item.required}


def _is_of(node: Node, kind: str) -> bool:
    return isinstance(node, ComponentOf) and node.kind == kind


def carried(values: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
    """What a component's configuration says that another of its kind has a parameter for, and allows."""
    types = {field: item.type for field, item in fields_of(kind, name).items()}
    return {k: v for k, v in values.items() if k in types and _allows(types[k], v)}


def _allows(node: Node, value: Any) -> bool:
    """As ``fits``, which lets anything stand where a component belongs: null is no component."""
    return fits(node, value) and not (isinstance(node, ComponentOf) and value is None)


@cache
def example(kind: str, name: str) -> dict[str, Any]:
    """Values for parameters without default: the manifest's, else those of the first recipe that uses the component.

    A component that this one wraps is not among them.
    """
    lacking = [field for field, item in _required(kind, name).items() if not _is_of(item.type, kind)]
    entry = get_registry().find(kind, name)
    manifest = get_registry().plugins.records[entry.plugin].manifest
    told = manifest.conformance.examples.get(key_of(kind, entry.name), {}) if manifest else {}
    if all(field in told for field in lacking):
        return {field: told[field] for field in lacking}
    for values in resolved().values() if lacking else ():
        for place in places(values):
            if place.is_of(kind, name):
                return {field: place.values[field] for field in lacking}
    return {}


__all__ = ["PARTS", "Frame", "example", "frames"]
