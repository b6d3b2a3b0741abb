"""JSON Schema of recipe files, so that editors complete and check them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, create_model

from detzoo.config import HEADER, component_fields
from detzoo.plugins.manifest import KINDS
from detzoo.registry import Registry, get_registry
from detzoo.schema import BOUNDS, Fields, TypeExpr

_PLAIN: Final[dict[str, type]] = {"bool": bool, "int": int, "float": float, "str": str}


def recipe_file_schema(registry: Registry | None = None) -> dict[str, Any]:
    """Draft 2020-12 schema. A mapping without ``type`` edits the parent recipe, so nothing is required in it."""
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
    schema = _lifted(_json_schema(component_fields(kind, name, registry)), definitions, f"{kind}.{name}")
    properties = {"type": {"const": name}} | schema["properties"]
    required = ["type", *schema.get("required", [])]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _detector(registry: Registry, definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {"extends": {"type": "string"}}
    properties |= _lifted(_json_schema(HEADER), definitions, "recipe")["properties"]
    for entry in registry.entries("settings"):
        schema = _lifted(_json_schema(registry.schema(entry)["fields"]), definitions, entry.name)
        properties[entry.name] = {"type": "object", "properties": schema["properties"], "additionalProperties": False}
    for entry in registry.entries("join"):
        properties |= _lifted(_json_schema(registry.schema(entry)["fields"]), definitions, entry.name)["properties"]
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


def model_of(fields: Fields) -> type[BaseModel]:
    """The pydantic model of a set of fields; keys are aliases, so that any name can be one."""
    definitions: dict[str, Any] = {}
    for i, (name, field) in enumerate(fields.items()):
        default = field.get("default", ...)
        definitions[f"field_{i}"] = (_annotation(field["type"]), Field(default=default, alias=name))
    settings = ConfigDict(extra="forbid", protected_namespaces=())
    model: type[BaseModel] = create_model("Configuration", __config__=settings, **definitions)
    return model


def _json_schema(fields: Fields) -> dict[str, Any]:
    return model_of(fields).model_json_schema()


def _annotation(expr: TypeExpr) -> Any:
    form = expr["is"]
    bounds = {b: expr[b] for b in BOUNDS if b in expr}
    if form in _PLAIN:
        extra: dict[str, Any] = {"allow_inf_nan": False} if form == "float" else {}
        return Annotated[_PLAIN[form], Field(strict=True, **bounds, **extra)]
    if form == "null":
        return None
    if form == "literal":
        return Literal[tuple(expr["values"])]
    if form == "union":
        return Union[tuple(_annotation(member) for member in expr["of"])]  # noqa: UP007 - members known at run time
    if form == "component":
        return Annotated[Any, Field(json_schema_extra={"$ref": f"#/$defs/{expr['kind']}"})]
    if form == "settings":
        return model_of(expr["fields"])
    if form == "dict":
        return dict[str, _annotation(expr["of"])]  # type: ignore[misc]
    if "items" in expr:
        return tuple[tuple(_annotation(item) for item in expr["items"])]  # type: ignore[misc]
    return Annotated[list[_annotation(expr["of"])], Field(**bounds)]  # type: ignore[misc]
