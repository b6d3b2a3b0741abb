"""An example of every component: taken from a recipe that uses it, else built from its defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from detzoo.detectors.one_stage import OneStage
from detzoo.detectors.two_stage import TwoStage
from detzoo.errors import DetzooError
from detzoo.interfaces import Backbone, Detector
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.places import places
from detzoo.recipes.recipe import load_recipe
from detzoo.schema.nodes import ComponentOf, Node
from detzoo.testing.specimens import FEATURES, NUM_CLASSES, PYRAMID, SEED, SIZES, SMALL
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
    if kind == "backbone":
        return _backbone_of(recipe, _meant(plugin, kind, name))
    cls = get_registry().load(get_registry().find(kind, f"{plugin}/{name}"))
    detector = build_seeded(recipe, SEED)
    base = detector.input.size or SIZES[1]
    features = _features_before(detector, kind)
    fixed = any(spec.size is not None for spec in features.values())
    if fixed:
        sizes: tuple[tuple[int, int], ...] = (base,)
    else:
        sizes = ((base[0], base[1] + 64), (base[0] + 96, base[1]))
    return Subject(
        component=_part(detector, cls),
        # of another build, or the component's own seed would give the component; copied, for checks change it
        rebuild=lambda seed: copy.deepcopy(_part(build_seeded(recipe, seed, build=1), cls)),
        features=features,
        sizes=sizes,
        num_classes=_classes_at(recipe, kind, _meant(plugin, kind, name)),
        detector=detector,
    )


def _backbone_of(recipe: str, name: str) -> Subject:
    """A backbone as a recipe has it, alone: what stands behind it often has more weights than the backbone itself."""
    from detzoo.builder import build_component

    values = load_recipe(recipe).values
    place = next(place for place in places(values) if place.is_of("backbone", name))
    size = values["input"].get("size")
    config = {**place.values, "weights": None}

    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        return build_component("backbone", config, input_size=tuple(size) if size else None)

    # whatever sizes it declares for the recipe's input, its layers take any
    return Subject(component=made(SEED), rebuild=made, sizes=SMALL)


def recipe_with(plugin: str, kind: str, name: str) -> str | None:
    """The recipe with the smallest input that uses a component; the plugin's own first. None where there is none."""
    part = (kind, _meant(plugin, kind, name))
    found = [(one.plugin != plugin, one.pixels, one.recipe) for one in _uses(get_registry()) if part in one.parts]
    return min(found)[2] if found else None


def _meant(plugin: str, kind: str, name: str) -> str:
    """The name by which resolved recipes have a component."""
    return get_registry().canonical(get_registry().find(kind, f"{plugin}/{name}"))


@dataclass(frozen=True)
class _Use:
    """A recipe, its plugin, the px of its input, and the (kind, name) of what it is made of."""

    recipe: str
    plugin: str
    pixels: int
    parts: frozenset[tuple[str, str]]


@lru_cache(maxsize=2)
def _uses(registry: Registry) -> tuple[_Use, ...]:
    """Every recipe, read once: reading them all takes longer than most checks."""
    uses = []
    for recipe, record in registry.detectors().items():
        values = load_recipe(recipe, registry=registry).values
        height, width = values.get("input", {}).get("size") or (10_000, 10_000)
        parts = frozenset((place.kind, place.type) for place in places(values, registry))
        uses.append(_Use(recipe, record.name, int(height) * int(width), parts))
    return tuple(uses)


def _classes_at(recipe: str, kind: str, name: str) -> int:
    """K at the first place where a recipe has a dense head: an RPN's head knows one class, object.

    Other kinds are built with specimens of ``NUM_CLASSES`` wherever they are.
    """
    if kind != "head":
        return NUM_CLASSES
    found = next(place for place in places(load_recipe(recipe).values) if place.is_of(kind, name))
    return NUM_CLASSES if found.num_classes is None else found.num_classes


@lru_cache(maxsize=4)  # detectors are large
def build_seeded(recipe: str, seed: int, build: int = 0) -> Detector:
    """A recipe of the registry with three classes, without any pretrained weights; not to be changed.

    Args:
        recipe: its name.
        seed: of its weights.
        build: another number is another object, built again.
    """
    from detzoo.builder import build_recipe

    torch.manual_seed(seed)
    return build_recipe(load_recipe(recipe), num_classes=NUM_CLASSES, backbone_weights=False)


def _part(detector: Detector, cls: type[Any]) -> Any:
    """The first part of a detector that is of a class; proposer and transforms are no modules, but parts too."""
    for part in (*detector.modules(), detector.proposer, *detector.train_plan.transforms):
        if type(part) is cls:
            return part
    raise DetzooError(f"{detector.recipe.name} names {cls.__name__}, but no part of the built detector is one")


def _features_before(detector: Any, kind: str) -> FeatureSpecs:
    """The declared inputs of a component of a kind."""
    backbone: Backbone = detector.backbone
    behind_neck = kind != "neck" and isinstance(detector, OneStage | TwoStage)
    return dict(detector.neck.out if behind_neck else backbone.out)


def _standing_alone(plugin: str, kind: str, name: str, example: Mapping[str, Any]) -> Subject:
    from detzoo.builder import build_component

    registry = get_registry()
    # regions are pooled from a pyramid, whose maps have the same channels
    features = dict(PYRAMID if kind == "roi_pool" else FEATURES)
    entry = registry.find(kind, f"{plugin}/{name}")
    fields = registry.schema(entry).fields
    config: dict[str, Any] = {"type": f"{plugin}/{name}", **example}
    for field, item in fields.items():
        if item.required and field not in config:
            config[field] = _example_value(plugin, kind, name, field, item.type)

    def made(seed: int) -> Any:
        torch.manual_seed(seed)
        return build_component(kind, config, features=features, num_classes=NUM_CLASSES, input_size=SIZES[0])

    return Subject(component=made(SEED), rebuild=made, features=features, sizes=SMALL if kind == "backbone" else SIZES)


def _example_value(plugin: str, kind: str, name: str, field: str, node: Node) -> Any:
    """A value for a parameter without default: the first component of its kind that needs nothing itself."""
    if isinstance(node, ComponentOf):
        registry = get_registry()
        for entry in registry.entries(node.kind):
            if not any(item.required for item in registry.schema(entry).fields.values()):
                return {"type": entry.id}
    raise DetzooError(
        f"{kind} {plugin}/{name}: no recipe uses it, and {field} has no default: "
        "give it a default, add a recipe that uses it, or hand a value to the kit (examples=...)"
    )
