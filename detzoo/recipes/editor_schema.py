"""JSON Schema of recipe files, so that editors complete and check them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Final, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model

from detzoo.plugins.entries import Entry
from detzoo.plugins.recipe_header import HEADER
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.filling import component_fields
from detzoo.schema import nodes
from detzoo.schema.nodes import Fields, Node, limits

_log: Final = logging.getLogger("detzoo.plugins")
_COMPONENT: Final = "x-detzoo-component"
"""Marks where a component belongs: pydantic cannot refer to definitions that it did not make."""


def recipe_file_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Draft 2020-12 schema. A mapping without ``type`` edits the parent recipe, so nothing is required in it."""
    registry = registry or get_registry()
    definitions: dict[str, Any] = {}
    for kind in registry.kinds:
        if kind in ("architecture", "settings"):
            continue
        definitions[kind] = kind_schema(registry, kind, definitions)
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


def kind_schema(registry: Registry, kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """What may stand where a component of a kind belongs; ``definitions`` takes what it refers to."""
    found = (_readable(entry, partial(_component, registry, entry, definitions)) for entry in registry.entries(kind))
    return {"anyOf": [*(variant for variant in found if variant is not None), {"type": "null"}]}


def _slots(registry: Registry, entry: Entry, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a meta-architecture's parameters."""
    return _lifted(_json_schema(registry.schema(entry).fields), definitions, entry.name)


def _readable(entry: Entry, make: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What is made of a component's stored schema; None, with a warning, where a plugin's is damaged."""
    try:
        return make()
    except Exception as error:  # nothing is known of a damaged file; the other plugins' components stay
        if entry.plugin == "core":
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        _log.warning("%s %s is left out, its plugin is damaged: %s", entry.kind, entry.id, reason)
        return None


def _component(registry: Registry, entry: Entry, definitions: dict[str, Any]) -> dict[str, Any]:
    fields = component_fields(entry.kind, entry.id, registry)
    schema = _lifted(_json_schema(fields), definitions, f"{entry.kind}.{entry.plugin}.{entry.name}", partial=True)
    names = dict.fromkeys([registry.canonical(entry), entry.id])
    properties = {"type": {"enum": list(names)}} | schema["properties"]
    new, edit = {"required": ["type", *schema.get("required", [])]}, {"not": {"required": ["type"]}}
    return {"type": "object", "properties": properties, "additionalProperties": False, "anyOf": [new, edit]}


def _detector(registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {"extends": {"type": "string"}, "providers": {"type": "object"}}
    properties |= _lifted(_json_schema(HEADER), definitions, "recipe")["properties"]
    for entry in registry.entries("settings"):
        schema = _lifted(_json_schema(registry.schema(entry).fields), definitions, entry.name, partial=True)
        properties[entry.name] = {"type": "object", "properties": schema["properties"], "additionalProperties": False}
    slots: dict[str, list[dict[str, Any]]] = {}
    for entry in registry.entries("architecture"):
        made = _readable(entry, partial(_slots, registry, entry, definitions))
        for name, slot in (made or {"properties": {}})["properties"].items():
            if slot not in slots.setdefault(name, []):
                slots[name].append(slot)
    # the meta-architecture may stand in a parent: a slot of one name may be what any of them makes of it
    properties |= {name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in slots.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _lifted(
    schema: dict[str, Any], definitions: dict[str, Any], prefix: str, *, partial: bool = False
) -> dict[str, Any]:
    """Move a schema's own definitions to the top under a prefix; point its references, and components, there.

    Args:
        schema: as pydantic makes it.
        definitions: where its definitions go.
        prefix: of their names.
        partial: they may stand in an edit of a parent recipe, so that none of their keys is required.
    """
    names = list(schema.get("$defs", {}))

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            if _COMPONENT in node:
                definitions.setdefault(node[_COMPONENT], {})  # anything, where no plugin here brings the kind
                return {"$ref": f"#/$defs/{node[_COMPONENT]}"}
            target = node.get("$ref", "")
            if isinstance(target, str) and target.removeprefix("#/$defs/") in names:
                return node | {"$ref": f"#/$defs/{prefix}.{target.removeprefix('#/$defs/')}"}
            return {k: moved(v) for k, v in node.items()}
        return [moved(v) for v in node] if isinstance(node, list) else node

    inner = schema.pop("$defs", {})
    for name, value in inner.items():
        definitions[f"{prefix}.{name}"] = moved(value)
        if partial:
            definitions[f"{prefix}.{name}"].pop("required", None)
    result: dict[str, Any] = moved(schema)
    return result


def model_of(fields: Fields) -> type[BaseModel]:
    """The pydantic model of a set of fields; keys are aliases, so that any name can be one."""
    definitions: dict[str, Any] = {}
    for i, (name, item) in enumerate(fields.items()):
        default = ... if item.required else item.default
        definitions[f"field_{i}"] = (_annotation(item.type), Field(default=default, alias=name))
    settings = ConfigDict(extra="forbid", protected_namespaces=())
    model: type[BaseModel] = create_model("Configuration", __config__=settings, **definitions)
    return model


def _json_schema(fields: Fields) -> dict[str, Any]:
    return model_of(fields).model_json_schema()


def _annotation(node: Node) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case per node
    match node:
        case nodes.Boolean():
            return Annotated[bool, Field(strict=True)]
        case nodes.Integer():
            return Annotated[int, _limited(node)]
        case nodes.Number():
            return Annotated[float, _limited(node, allow_inf_nan=False)]
        case nodes.Text():
            return Annotated[str, _limited(node)]
        case nodes.Null():
            return None
        case nodes.Anything():
            return Any
        case nodes.Literal(values):
            return Literal[values]
        case nodes.Union(members):
            return Union[tuple(_annotation(member) for member in members)]  # noqa: UP007 - members known at run time
        case nodes.ComponentOf(kind):
            return Annotated[Any, Field(json_schema_extra={_COMPONENT: kind})]
        case nodes.Settings(fields):
            return model_of(fields)
        case nodes.DictOf(value):
            return dict[str, _annotation(value)]  # type: ignore[misc]
        case nodes.FixedTuple(items):
            return tuple[tuple(_annotation(item) for item in items)]  # type: ignore[misc]
        case nodes.ListOf(item) | nodes.TupleOf(item):
            return Annotated[list[_annotation(item)], Field(**limits(node))]  # type: ignore[misc]


def _limited(node: nodes.Integer | nodes.Number | nodes.Text, **more: Any) -> Any:
    return Field(**limits(node), strict=True, **more)
