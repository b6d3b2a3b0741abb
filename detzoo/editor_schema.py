"""JSON Schema of recipe files, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from detzoo.config import HEADER, component_fields
from detzoo.plugins.manifest import KINDS
from detzoo.registry import Registry, get_registry
from detzoo.schema import json_schema


def recipe_file_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Draft 2020-12 schema. A mapping without ``type`` is an edit of the parent recipe, so nothing is required in it."""
    registry = registry or get_registry()
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        if kind in ("join", "settings"):
            continue
        variants = [_component(registry, kind, entry.name, definitions) for entry in registry.entries(kind)]
        edit = {"type": "object", "not": {"required": ["type"]}}
        definitions[kind] = {"anyOf": [*variants, edit, {"type": "null"}]}
    detector = _detector(registry, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "detzoo recipe file",
        "type": "object",
        "properties": {"api": {"const": 1}, "detectors": {"type": "object", "additionalProperties": detector}},
        "required": ["api", "detectors"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _component(registry: Registry, kind: str, name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _lifted(json_schema(component_fields(kind, name, registry)), definitions, f"{kind}.{name}")
    properties = {"type": {"const": name}} | schema["properties"]
    required = ["type", *schema.get("required", [])]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _detector(registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {"extends": {"type": "string"}}
    properties |= _lifted(json_schema(HEADER), definitions, "recipe")["properties"]
    for entry in registry.entries("settings"):
        schema = _lifted(json_schema(registry.schema(entry)["fields"]), definitions, entry.name)
        properties[entry.name] = {"type": "object", "properties": schema["properties"], "additionalProperties": False}
    for entry in registry.entries("join"):
        properties |= _lifted(json_schema(registry.schema(entry)["fields"]), definitions, entry.name)["properties"]
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _lifted(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Move a schema's own definitions to the top under a prefix, and point its references there."""
    names = list(schema.get("$defs", {}))

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            target = node.get("$ref", "").removeprefix("#/$defs/")
            if target in names:
                return node | {"$ref": f"#/$defs/{prefix}.{target}"}
            return {k: moved(v) for k, v in node.items()}
        return [moved(v) for v in node] if isinstance(node, list) else node

    inner = schema.pop("$defs", {})
    definitions |= {f"{prefix}.{name}": moved(value) for name, value in inner.items()}
    result: dict[str, Any] = moved(schema)
    return result
