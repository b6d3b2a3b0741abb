"""What a recipe's short names mean, and the full ids and providers with which it is stored.

A short name is its writer's: a plugin's manifest means its own component first, a user's file the core's. Inside a
resolved recipe each name is the one by which a user means that component, and a stored recipe has full ids alone, so
that nothing that is installed later changes what it builds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

from detzoo.errors import RecipeError
from detzoo.plugins.manager import describe_failure
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.places import places
from detzoo.schema.nodes import Fields
from detzoo.schema.searching import components_in
from detzoo.schema.yaml_source import Key, Origin

PROVIDERS: Final = "providers"
"""Key of a stored recipe: plugin -> ``detzoo-ssd 0.1.0``, which it was written with."""


def resolve_name(kind: str, name: str, file: str, registry: Registry) -> str:
    """The name by which a user means a component that a file names; as it stands where there is none.

    Args:
        kind: of the component.
        name: as it is written.
        file: that writes it; of a plugin's manifest the plugin's own components come first.
        registry: that knows the components.
    """
    try:
        return registry.canonical(registry.find(kind, name, registry.writer(file)))
    except RecipeError:
        return name  # checking the recipe tells it, with everything else


def with_resolved_names(
    fields: Fields, values: Mapping[str, Any], key: Key, origin: Callable[[Key], Origin], registry: Registry
) -> dict[str, Any]:
    """A copy of values, checked or not, in which each component has the name by which a user means it.

    Args:
        fields: that they may have.
        values: by name.
        key: where they stand.
        origin: of a key: the file that wrote it.
        registry: that knows the components.
    """
    changed = copy.deepcopy(dict(values))
    _resolve(fields, changed, key, origin, registry)
    return changed


def _resolve(
    fields: Fields, values: dict[str, Any], key: Key, origin: Callable[[Key], Origin], registry: Registry
) -> None:
    for name, item in fields.items():
        for node, value, at in components_in(item.type, values.get(name), (*key, name)):
            if isinstance(value, dict) and isinstance(value.get("type"), str):
                value["type"] = resolve_name(node.kind, value["type"], origin((*at, "type")).file, registry)
                try:
                    inner = registry.schema(registry.find(node.kind, value["type"])).fields
                except RecipeError:
                    continue
                _resolve(inner, value, at, origin, registry)


def stored_values(values: Mapping[str, Any], registry: Registry | None = None) -> dict[str, Any]:
    """A resolved recipe as runs and checkpoints hold it: full ids, and each provider with its version."""
    registry = registry or get_registry()
    stored = copy.deepcopy(dict(values))
    architecture = registry.find("architecture", stored["architecture"])
    used = {architecture.plugin}
    for place in places(stored, registry):
        entry = registry.find(place.kind, place.type)
        used.add(entry.plugin)
        assert isinstance(place.values, dict)
        place.values["type"] = entry.id
    providers = {name: registry.plugins.records[name].distribution for name in sorted(used)}
    return stored | {"architecture": architecture.id, PROVIDERS: providers}


def missing_provider(name: str, providers: Mapping[str, Any], registry: Registry) -> str:
    """What to install for a full id whose plugin is gone, as the recipe was stored; empty where it is not."""
    plugin, slash, _ = name.rpartition("/")
    distribution = str(providers.get(plugin, "")).rpartition(" ")[0]
    if not slash or not distribution:
        return ""
    record = registry.plugins.records.get(plugin)
    if record is None:
        return f"its plugin {plugin} is not installed: pip install {distribution}"
    return "" if record in registry.plugins.usable() else describe_failure(record)


__all__ = ["PROVIDERS", "missing_provider", "resolve_name", "stored_values", "with_resolved_names"]
