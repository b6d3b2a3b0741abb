"""The JSON Schema of recipe files accepts what loads and refuses what an editor should underline.

The validator below knows the keywords that occur and fails on any other.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from detzoo.plugins.registry import Registry
from detzoo.recipes.editor_schema import recipe_file_schema
from detzoo.recipes.recipe import load_recipe
from detzoo.schema.yaml_source import parse, read

FILES = Path(__file__).parents[1] / "recipe_errors" / "files"
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float),
}  # fmt: skip
IGNORED = {"title", "default", "description", "$schema", "$defs"}


def valid(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Whether ``value`` satisfies ``schema``: the part of draft 2020-12 that is used."""
    return all(_keyword(name, rule, schema, value, root) for name, rule in schema.items() if name not in IGNORED)


def _keyword(  # noqa: C901, PLR0911, PLR0912 - one line a keyword
    name: str, rule: Any, schema: dict[str, Any], value: Any, root: dict[str, Any]
) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match name:
        case "$ref":
            return valid(root["$defs"][re.fullmatch(r"#/\$defs/(.+)", rule)[1]], value, root)  # type: ignore[index]
        case "type":
            whole = isinstance(value, int) and not isinstance(value, bool)
            return whole if rule == "integer" else isinstance(value, TYPES[rule]) and (number or rule != "number")
        case "anyOf":
            return any(valid(one, value, root) for one in rule)
        case "not":
            return not valid(rule, value, root)
        case "const":
            return bool(value == rule)
        case "enum":
            return value in rule
        case "required":
            return not isinstance(value, dict) or set(rule) <= set(value)
        case "properties":
            return not isinstance(value, dict) or all(valid(rule[k], v, root) for k, v in value.items() if k in rule)
        case "additionalProperties":
            extra = (
                [v for k, v in value.items() if k not in schema.get("properties", {})]
                if isinstance(value, dict)
                else []
            )
            return not extra if rule is False else all(valid(rule, v, root) for v in extra)
        case "items":
            return not isinstance(value, list) or all(valid(rule, v, root) for v in value)
        case "prefixItems":
            pairs = zip(rule, value, strict=False) if isinstance(value, list) else ()
            return all(valid(one, v, root) for one, v in pairs)
        case "minItems" | "minLength":
            return not isinstance(value, (list, str)) or len(value) >= rule
        case "maxItems" | "maxLength":
            return not isinstance(value, (list, str)) or len(value) <= rule
        case "minimum":
            return not number or value >= rule
        case "exclusiveMinimum":
            return not number or value > rule
        case "maximum":
            return not number or value <= rule
        case "exclusiveMaximum":
            return not number or value < rule
    raise AssertionError(f"the schema uses {name}, which this validator does not know")


@cache
def toy_schema() -> dict[str, Any]:
    """That of the toy registry, made once: nobody changes it."""
    return recipe_file_schema()


@pytest.fixture
def schema(toy_registry: Registry) -> dict[str, Any]:
    return toy_schema()


def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"].removeprefix("#/$defs/")} if "$ref" in node else set()
            return own.union(*(references(child) for child in node.values()))
        return set().union(*(references(child) for child in node)) if isinstance(node, list) else set()

    found = references(schema)

    assert {"head", "backbone", "suppress", "transform"} <= found
    assert found <= set(schema["$defs"])


@pytest.mark.parametrize("target", ["toy_detector", "toy_child"])
def test_a_resolved_recipe_is_valid(schema: dict[str, Any], target: str) -> None:
    text = load_recipe(target).to_yaml()

    assert valid(schema, parse(text, "mine.yaml").value, schema)


def test_recipes_as_a_manifest_writes_them_are_valid(schema: dict[str, Any], toy_registry: Registry) -> None:
    detectors = {name: toy_registry.written(name) for name in toy_registry.detectors()}

    assert valid(schema, {"api": 1, "detectors": detectors}, schema)


@pytest.mark.skipif(find_spec("detzoo_ssd") is None, reason="the SSD plugin is not installed")
def test_the_ssd_plugin_s_recipes_are_valid() -> None:
    registry = Registry()
    schema = recipe_file_schema(registry)
    names = [name for name, record in registry.detectors().items() if record.name == "ssd"]

    assert names
    for name in names:
        assert valid(schema, {"api": 1, "detectors": {name: registry.written(name)}}, schema), name


def test_an_edit_of_a_parent_may_leave_keys_out(schema: dict[str, Any]) -> None:
    mine = {"extends": "toy_detector", "train": {"optimizer": {"momentum": 0.5}}, "head": {"anchors": {"sizes": [3]}}}

    assert valid(schema, {"api": 1, "detectors": {"mine": mine}}, schema)


@pytest.mark.parametrize(
    "name",
    """unknown_key_at_top unknown_key_in_component unknown_key_in_settings unknown_key_in_nested_component
    unknown_key_in_list_element unknown_key_of_file wrong_type_text_for_number wrong_type_list_for_mapping
    wrong_type_bool_for_int wrong_literal tuple_too_short tuple_too_long number_too_small misspelt_component
    text_for_component missing_key_of_component api_too_new top_level_list missing_detectors no_classes
    wrong_weights_entry""".split(),
)
def test_what_show_refuses_an_editor_underlines(schema: dict[str, Any], name: str) -> None:
    assert not valid(schema, read(FILES / f"{name}.yaml").value, schema)
