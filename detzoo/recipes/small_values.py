"""A recipe made quick to try: the values that the manifests of its components name under ``conformance: small``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from detzoo.plugins.entries import key_of
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.places import places
from detzoo.schema.yaml_source import show_key


def small_values(kind: str, name: str, registry: Registry | None = None) -> Mapping[str, Any]:
    """What a component's manifest would have it built with when a detector is only tried."""
    registry = registry or get_registry()
    entry = registry.find(kind, name)
    manifest = registry.plugins.records[entry.plugin].manifest
    return manifest.conformance.small.get(key_of(kind, entry.name), {}) if manifest else {}


def small_overrides(values: Mapping[str, Any], registry: Registry | None = None) -> list[str]:
    """The overrides that make a resolved recipe quick: ``proposals.top_k=20``."""
    return [
        f"{show_key(place.key)}.{field}={json.dumps(value)}"
        for place in places(values, registry)
        for field, value in small_values(place.kind, place.type, registry).items()
    ]


__all__ = ["small_overrides", "small_values"]
