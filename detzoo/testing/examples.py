"""An example of every component: taken from a recipe that uses it, else built from its defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import torch

from detzoo.config import load_recipe
from detzoo.errors import DetzooError
from detzoo.interfaces import Backbone, Detector
from detzoo.registry import get_registry
from detzoo.testing.specimens import FEATURES, NUM_CLASSES, PYRAMID, SIZES, SMALL
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
        num_classes=_classes_at(recipe, kind, name),
        detector=detector,
    )


@cache
def recipe_with(plugin: str, kind: str, name: str) -> str | None:
    """The recipe with the smallest input that uses a component; the plugin's own first. None where there is none."""
    found: list[tuple[bool, int, str]] = []
    for recipe, record in get_registry().detectors().items():
        values = load_recipe(recipe).values
        if any(place.is_of(kind, name) for place in _places(values)):
            size = values.get("input", {}).get("size") or (10_000, 10_000)
            found.append((record.name != plugin, int(size[0]) * int(size[1]), recipe))
    return min(found)[2] if found else None


def _classes_at(recipe: str, kind: str, name: str) -> int:
    """K at the first place where a recipe has a head: an RPN's head knows one class, object.

    Other kinds stand beside specimens of ``NUM_CLASSES`` wherever they are.
    """
    if kind != "head":
        return NUM_CLASSES
    return next(place.num_classes for place in _places(load_recipe(recipe).values) if place.is_of(kind, name))


@dataclass(frozen=True)
class _Place:
    """Where a resolved recipe names a component: its kind, its name, and K as it is supplied there."""

    kind: str
    type: str
    num_classes: int

    def is_of(self, kind: str, name: str) -> bool:
        """Whether it is the component of a kind with a short name."""
        return self.kind == kind and self.type.rpartition("/")[2] == name


def _places(values: Mapping[str, Any]) -> list[_Place]:
    """Every component of a resolved recipe, in the order in which the build makes them."""
    registry = get_registry()
    slots = registry.schema(registry.find("join", values["join"]))["fields"]
    plan = registry.schema(registry.find("settings", "train"))["fields"]
    below = _in_fields(plan, values.get("train") or {}, NUM_CLASSES)
    return [*_in_fields(slots, values, NUM_CLASSES), *below]


def _in_fields(fields: Mapping[str, Any], values: Mapping[str, Any], classes: int) -> Iterator[_Place]:
    """Every component below some fields, as their schema finds them."""
    for name, item in fields.items():
        yield from _in_value(item["type"], values.get(name), classes)


def _in_value(expr: Mapping[str, Any], value: Any, classes: int) -> Iterator[_Place]:
    form = expr["is"]
    if form == "component" and isinstance(value, Mapping):
        registry = get_registry()
        classes = expr.get("scope", {}).get("num_classes", classes)
        yield _Place(expr["kind"], value["type"], classes)
        yield from _in_fields(registry.schema(registry.find(expr["kind"], value["type"]))["fields"], value, classes)
    elif form == "settings" and isinstance(value, Mapping):
        yield from _in_fields(expr["fields"], value, classes)
    elif form == "union":
        for member in expr["of"]:
            yield from _in_value(member, value, classes)
    elif form in ("list", "tuple") and isinstance(value, list | tuple):
        members = expr.get("items") or [expr["of"]] * len(value)
        for member, one in zip(members, value, strict=False):
            yield from _in_value(member, one, classes)
    elif form == "dict" and isinstance(value, Mapping):
        for one in value.values():
            yield from _in_value(expr["of"], one, classes)


@lru_cache(maxsize=4)  # detectors are large
def build_seeded(recipe: str, seed: int) -> Detector:
    """A recipe of the registry with three classes, without any pretrained weights."""
    from detzoo.build import build_recipe

    torch.manual_seed(seed)
    return build_recipe(load_recipe(recipe), num_classes=NUM_CLASSES, backbone_weights=False)


def _part(detector: Detector, cls: type[Any]) -> Any:
    """The first part of a detector that is of a class; proposer and transforms are no modules, but parts too."""
    plan = getattr(detector, "train_plan", None)
    for part in (*detector.modules(), detector.proposer, *getattr(plan, "transforms", ())):
        if type(part) is cls:
            return part
    raise DetzooError(f"{detector.recipe.name} names {cls.__name__}, but no part of the built detector is one")


def _features_before(detector: Any, kind: str) -> FeatureSpecs:
    """What a component of a kind is told that it gets."""
    backbone: Backbone = detector.backbone
    neck = None if kind == "neck" else getattr(detector, "neck", None)
    return dict(backbone.out if neck is None else neck.out)


def _standing_alone(plugin: str, kind: str, name: str, example: Mapping[str, Any]) -> Subject:
    from detzoo.build import build_component

    registry = get_registry()
    # regions are pooled from a pyramid, whose maps have the same channels
    features = dict(PYRAMID if kind == "roi_pool" else FEATURES)
    entry = registry.find(kind, f"{plugin}/{name}")
    fields = registry.schema(entry)["fields"]
    config: dict[str, Any] = {"type": f"{plugin}/{name}", **example}
    for field, item in fields.items():
        if "default" not in item and field not in config:
            config[field] = _example_value(plugin, kind, name, field, item["type"])

    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        return build_component(kind, config, features=features, num_classes=NUM_CLASSES, input_size=SIZES[0])

    return Subject(component=made(0), rebuild=made, features=features, sizes=SMALL if kind == "backbone" else SIZES)


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
