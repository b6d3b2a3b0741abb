"""An example of every component: taken from a recipe that uses it, else built from its defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import torch

from detzoo.config import load_recipe
from detzoo.errors import DetzooError
from detzoo.interfaces import Backbone, Detector
from detzoo.registry import get_registry
from detzoo.testing.specimens import FEATURES, NUM_CLASSES, SIZES, SMALL
from detzoo.testing.subject import Subject
from detzoo.types import FeatureSpecs


def make_subject(plugin: str, kind: str, name: str, example: Mapping[str, Any]) -> Subject:
    """Build an example of a component.

    Args:
        plugin: its plugin.
        kind: its kind.
        name: its short name.
        example: configuration to build it from; where empty, a recipe that uses it, or its defaults.

    Raises:
        DetzooError: no recipe uses it and it cannot be built from its defaults.
    """
    recipe = None if example else recipe_with(plugin, kind, name)
    if recipe is None:
        return _standing_alone(plugin, kind, name, example)
    cls = get_registry().load(get_registry().find(kind, f"{plugin}/{name}"))
    detector = build_seeded(recipe, 0)
    base = detector.input.size or SIZES[1]
    features = _features_before(detector, kind)
    fixed = any(spec.size is not None for spec in features.values())
    return Subject(
        component=_part(detector, cls),
        rebuild=lambda seed: _part(build_seeded(recipe, seed), cls),
        features=features,
        sizes=(base,) if fixed else ((base[0], base[1] + 64), (base[0] + 96, base[1])),
        num_classes=NUM_CLASSES,
        detector=detector,
    )


@cache
def recipe_with(plugin: str, kind: str, name: str) -> str | None:
    """The recipe with the smallest input that uses a component; the plugin's own first. None where there is none."""
    found: list[tuple[bool, int, str]] = []
    for recipe, record in get_registry().detectors().items():
        values = load_recipe(recipe).values
        if name in _named(values, kind):
            size = values.get("input", {}).get("size") or (10_000, 10_000)
            found.append((record.name != plugin, int(size[0]) * int(size[1]), recipe))
    return min(found)[2] if found else None


def _named(values: Mapping[str, Any], kind: str) -> set[str]:
    """Short names of the components of a kind in a resolved recipe."""
    registry = get_registry()
    slots = registry.schema(registry.find("join", values["join"]))["fields"]
    plan = registry.schema(registry.find("settings", "train"))["fields"]
    found = [*_in_fields(slots, values), *_in_fields(plan, values.get("train") or {})]
    return {name.rpartition("/")[2] for used, name in found if used == kind}


def _in_fields(fields: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of every component below some fields, as their schema finds them."""
    for name, item in fields.items():
        yield from _in_value(item["type"], values.get(name))


def _in_value(expr: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    form = expr["is"]
    if form == "component" and isinstance(value, Mapping):
        registry = get_registry()
        yield expr["kind"], value["type"]
        yield from _in_fields(registry.schema(registry.find(expr["kind"], value["type"]))["fields"], value)
    elif form == "settings" and isinstance(value, Mapping):
        yield from _in_fields(expr["fields"], value)
    elif form == "union":
        for member in expr["of"]:
            yield from _in_value(member, value)
    elif form in ("list", "tuple") and isinstance(value, list | tuple):
        members = expr.get("items") or [expr["of"]] * len(value)
        for member, one in zip(members, value, strict=False):
            yield from _in_value(member, one)
    elif form == "dict" and isinstance(value, Mapping):
        for one in value.values():
            yield from _in_value(expr["of"], one)


@lru_cache(maxsize=4)  # detectors are large
def build_seeded(recipe: str, seed: int) -> Detector:
    """A recipe of the registry with three classes, without any pretrained weights."""
    from detzoo.build import build_recipe

    torch.manual_seed(seed)
    return build_recipe(load_recipe(recipe), num_classes=NUM_CLASSES, backbone_weights=False)


def _part(detector: Detector, cls: type[Any]) -> Any:
    """The first part of a detector that is of a class; transforms are looked for in its training plan."""
    plan = getattr(detector, "train_plan", None)
    for part in (*detector.modules(), *getattr(plan, "transforms", ())):
        if type(part) is cls:
            return part
    raise DetzooError(f"{detector.recipe.name} names {cls.__name__}, but no part of the built detector is one")


def _features_before(detector: Any, kind: str) -> FeatureSpecs:
    """What a component of a kind is told that it gets."""
    if kind == "neck":
        backbone: Backbone = detector.backbone
        return backbone.out
    neck = getattr(detector, "neck", None)
    return dict(neck.out) if neck is not None else dict(FEATURES)


def _standing_alone(plugin: str, kind: str, name: str, example: Mapping[str, Any]) -> Subject:
    from detzoo.build import build_component

    registry = get_registry()
    entry = registry.find(kind, f"{plugin}/{name}")
    fields = registry.schema(entry)["fields"]
    config: dict[str, Any] = {"type": f"{plugin}/{name}", **example}
    for field, item in fields.items():
        if "default" not in item and field not in config:
            config[field] = _example_value(plugin, kind, name, field, item["type"])

    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        return build_component(kind, config, features=dict(FEATURES), num_classes=NUM_CLASSES, input_size=SIZES[0])

    return Subject(component=made(0), rebuild=made, sizes=SMALL if kind == "backbone" else SIZES)


def _example_value(plugin: str, kind: str, name: str, field: str, expr: Mapping[str, Any]) -> Any:
    """A value for a parameter without default: the first component of its kind that needs nothing itself."""
    if expr.get("is") == "component":
        registry = get_registry()
        for entry in registry.entries(expr["kind"]):
            if all("default" in item for item in registry.schema(entry)["fields"].values()):
                return {"type": entry.id}
    raise DetzooError(
        f"{kind} {plugin}/{name}: no recipe uses it, and {field} has no default: "
        "give it a default, add a recipe that uses it, or hand a value to the kit (examples=...)"
    )
