"""Recipes: finding one, deriving it from its parent, checking all of it, and knowing where each value came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from detzoo.errors import PluginError, RecipeError
from detzoo.merge import Layer, Merged, parse_override
from detzoo.registry import Registry, get_registry
from detzoo.schema import BACKBONE_KEYS, Fields, Problem, check_fields, components_in, describe, shown, unknown
from detzoo.yaml_source import Document, Key, Mark, read, show_key

_TEXT: Final = {"is": "str", "min_length": 1}
_OPTIONAL_TEXT: Final = {"type": {"is": "union", "of": [_TEXT, {"is": "null"}]}, "default": None}
_NUMBER: Final = {"is": "float"}

PAPER: Final[Fields] = {"title": {"type": _TEXT}, "url": {"type": _TEXT}}
WEIGHTS: Final[Fields] = {
    "name": {"type": _TEXT},
    "url": {"type": _TEXT},
    "sha256": {"type": _TEXT},
    "source": {"type": _TEXT},
    "licence": {"type": _TEXT},
    "note": _OPTIONAL_TEXT,
}
REPORTED: Final[Fields] = {
    "dataset": {"type": _TEXT},
    "metric": {"type": _TEXT},
    "value": {"type": _NUMBER},
    "protocol": {"type": _TEXT},
    "source": {"type": _TEXT},
    "verified": {"type": {"is": "bool"}, "default": True},
    "per_class": {"type": {"is": "dict", "of": _NUMBER}, "default": {}},
}
_NAMES: Final = {"is": "list", "of": {"is": "union", "of": [_TEXT, {"is": "null"}]}, "min_length": 1}
HEADER: Final[Fields] = {
    "join": {"type": _TEXT},
    "summary": {"type": _TEXT, "default": ""},
    "paper": {"type": {"is": "union", "of": [{"is": "settings", "fields": PAPER}, {"is": "null"}]}, "default": None},
    "profile": {"type": {"is": "literal", "values": ["paper", "torchvision", "port", "modern"]}, "default": "modern"},
    "num_classes": {"type": {"is": "int", "ge": 1, "le": 100_000}},
    "classes": {"type": {"is": "union", "of": [_TEXT, _NAMES, {"is": "null"}]}, "default": None},
    "weights": {"type": {"is": "list", "of": {"is": "settings", "fields": WEIGHTS}}, "default": []},
    "reported": {"type": {"is": "list", "of": {"is": "settings", "fields": REPORTED}}, "default": []},
}
"""The keys of every recipe; ``input``, ``train`` and the slots of the join come beside them."""


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe.

    Args:
        name: as it was asked for.
        values: every key, defaults included, as plain YAML values.
        marks: where each written value came from; a key without a mark is a default.
        chain: labels of the layers, root first.
        dropped: what replacing a component lost.
    """

    name: str
    values: dict[str, Any]
    marks: dict[Key, Mark] = field(default_factory=dict, repr=False)
    chain: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def origin(self, key: Key) -> str:
        """``file:line`` that wrote a value, or ``default``."""
        while key:
            if key in self.marks:
                return str(self.marks[key])
            key = key[:-1]
        return "default"

    def to_yaml(self) -> str:
        """The recipe as a file of one's own, which builds the same detector."""
        recipe = {short_name(self.name): self.values}
        text: str = yaml.safe_dump({"api": 1, "detectors": recipe}, sort_keys=False, width=120)
        return text


def load_recipe(
    target: str | Path,
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    *,
    registry: Registry | None = None,
) -> Recipe:
    """Find, merge and check a recipe.

    Args:
        target: a name from ``detzoo list``, a file ``mine.yaml`` of one detector, or ``mine.yaml#cells``.
        overrides: ``{"loss.box.type": "giou"}``, or ``["loss.box.type=giou"]`` as on the command line.
        registry: that of this process when None.

    Raises:
        RecipeError: everything that is wrong, each line with file, line and path.
    """
    registry = registry or get_registry()
    layers = _chain(str(target), registry)
    merged = Merged()
    for i, layer in enumerate(layers):
        if i:
            merged.inherit()
        _check_join(merged, layer)
        merged.add(layer)
    merged.value.pop("extends", None)
    for path, value in _override_items(overrides):
        if path == "join" or path.startswith("join."):
            raise RecipeError(f"--set {path}: the join cannot be changed; extend a recipe that has the one you want")
        merged.override(path, value)
    return check(str(target), merged, registry, tuple(layer.label for layer in layers))


def recipe_from_values(name: str, values: dict[str, Any], *, registry: Registry | None = None) -> Recipe:
    """Check values that were resolved before, as a checkpoint holds them."""
    merged = Merged(value=values)
    merged.marks[()] = Mark(name)
    return check(name, merged, registry or get_registry(), (name,))


def check(name: str, merged: Merged, registry: Registry, chain: tuple[str, ...]) -> Recipe:
    """Check a merged recipe and fill in the defaults.

    Raises:
        RecipeError: everything that is wrong with it.
    """
    values = merged.value
    join = values.get("join")
    fields: Fields = {}
    if isinstance(join, str):
        fields, problems = _fields_of(join, registry)
    else:
        known = ", ".join(entry.name for entry in registry.entries("join"))
        problems = [Problem(("join",), f'missing key "join"; allowed: {known}; or extend a recipe')]
    if fields:
        problems += check_fields(fields, values, (), what="the recipe")
        problems += _check_inside(fields, values, (), registry)
    if problems:
        raise RecipeError("\n".join(dict.fromkeys(_located(problem, merged.marks, name) for problem in problems)))
    return Recipe(name, _filled(fields, values, registry), dict(merged.marks), chain, tuple(merged.dropped))


def check_component(kind: str, value: Any, key: Key, registry: Registry) -> list[Problem]:
    """Everything wrong with one component's configuration, nested ones included."""
    if not isinstance(value, dict):
        expected = describe({"is": "component", "kind": kind})
        return [Problem(key, f"found {shown(value)}; expected {expected}")]
    name = value.get("type")
    if not isinstance(name, str):
        names = ", ".join(entry.name for entry in registry.entries(kind))
        return [Problem(key, f'missing key "type" of this {kind}; allowed: {names}')]
    try:
        fields = component_fields(kind, name, registry)
    except (RecipeError, PluginError) as error:
        return [Problem((*key, "type"), str(error))]
    rest = {k: v for k, v in value.items() if k != "type"}
    problems = check_fields(fields, rest, key, what=f'{kind} "{name}"')
    return problems + _check_inside(fields, rest, key, registry)


def component_fields(kind: str, name: str, registry: Registry) -> Fields:
    """The keys a component may have, the reserved ones included."""
    fields: Fields = registry.schema(registry.find(kind, name))["fields"]
    return fields | BACKBONE_KEYS if kind == "backbone" else fields


def short_name(target: str) -> str:
    """``runs/mine.yaml#cells`` -> ``cells``; ``ssd/ssd300`` -> ``ssd300``."""
    return target.rpartition("#")[2].rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")


def _located(problem: Problem, marks: dict[Key, Mark], name: str) -> str:
    """``file:line: detectors.mine.head.ratios[2]: message``; the line of the nearest key that was written."""
    key = problem.key
    while key and key not in marks:
        key = key[:-1]
    where = marks.get(key, Mark(name))
    return f"{where}: {show_key(('detectors', short_name(name), *problem.key))}: {problem.message}"


def _fields_of(join: str, registry: Registry) -> tuple[Fields, list[Problem]]:
    try:
        slots = registry.schema(registry.find("join", join))["fields"]
        settings = {name: registry.schema(registry.find("settings", name))["fields"] for name in ("input", "train")}
    except (RecipeError, PluginError) as error:
        return {}, [Problem(("join",), str(error))]
    nested = {name: {"type": {"is": "settings", "fields": fields}} for name, fields in settings.items()}
    return HEADER | nested | slots, []


def _check_inside(fields: Fields, values: dict[str, Any], key: Key, registry: Registry) -> list[Problem]:
    problems: list[Problem] = []
    for name, item in fields.items():
        if name in values:
            for expr, value, at in components_in(item["type"], values[name], (*key, name)):
                if value is not None or item["type"]["is"] == "component":
                    problems += check_component(expr["kind"], value, at, registry)
    return problems


def _filled(fields: Fields, values: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """``values`` with the defaults of every level, in the order of the fields."""
    return {
        name: _filled_value(item["type"], values[name] if name in values else item["default"], registry)
        for name, item in fields.items()
    }


def _filled_value(expr: dict[str, Any], value: Any, registry: Registry) -> Any:
    form = expr["is"]
    if form == "component" and isinstance(value, dict):
        fields = component_fields(expr["kind"], value["type"], registry)
        return {"type": value["type"]} | _filled(fields, value, registry)
    if form == "settings" and isinstance(value, dict):
        return _filled(expr["fields"], value, registry)
    if form == "union":
        for member in expr["of"]:
            if member["is"] in ("component", "settings", "list", "dict", "tuple"):
                value = _filled_value(member, value, registry)
        return value
    if form in ("list", "tuple") and isinstance(value, list):
        inner = expr.get("items") or [expr["of"]] * len(value)
        return [_filled_value(member, v, registry) for member, v in zip(inner, value, strict=True)]
    if form == "dict" and isinstance(value, dict):
        return {k: _filled_value(expr["of"], v, registry) for k, v in value.items()}
    return value


def _override_items(overrides: Mapping[str, Any] | Sequence[str] | None) -> list[tuple[str, Any]]:
    if overrides is None:
        return []
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    return [parse_override(text) for text in overrides]


def _check_join(merged: Merged, layer: Layer) -> None:
    old, new = merged.value.get("join"), layer.value.get("join")
    if old is not None and new is not None and new != old:
        mark = layer.marks.get(("join",), Mark(layer.label))
        raise RecipeError(f'{mark}: join: found "{new}"; the parent recipe is a "{old}", and the join cannot change')


def _chain(target: str, registry: Registry) -> list[Layer]:
    """The layers of a recipe, root first."""
    layers: list[Layer] = []
    seen: list[str] = []
    name: str | None = target
    folder, siblings, mark = Path(), None, None
    while name is not None:
        layer, document, folder = _find(name, folder, siblings, registry, mark)
        if layer.label in seen:
            cycle = " -> ".join([*seen[seen.index(layer.label) :], layer.label])
            raise RecipeError(f"{layer.marks.get(('extends',), layer.label)}: extends: a cycle: {cycle}")
        seen.append(layer.label)
        layers.insert(0, layer)
        mark = layer.marks.get(("extends",))
        siblings, name = document, layer.value.get("extends")
        if name is not None and not isinstance(name, str):
            raise RecipeError(f"{mark}: extends: found {shown(name)}; expected the name of one recipe")
    return layers


def _find(
    name: str, folder: Path, siblings: Document | None, registry: Registry, mark: Mark | None
) -> tuple[Layer, Document | None, Path]:
    """One layer by name: beside the current recipe, in a file, or in the zoo."""
    if siblings is not None and name in siblings.value["detectors"]:
        return _from_document(siblings, name), siblings, folder
    file, _, inner = name.partition("#")
    if file.endswith((".yaml", ".yml")):
        path = folder / file
        document = _read_file(path, mark)
        return _from_document(document, inner or _only(document)), document, path.parent
    try:
        value, marks, label = registry.recipe(name)
    except RecipeError as error:
        raise RecipeError(f"{mark}: extends: {error}" if mark else str(error)) from None
    if not isinstance(value, dict):
        raise RecipeError(f"{marks.get((), label)}: detectors.{name}: expected a mapping")
    beside = registry.plugins.records[label.partition("/")[0]].manifest
    return Layer(value, marks, label), beside.document if beside else None, folder


def _read_file(path: Path, mark: Mark | None) -> Document:
    try:
        document = read(path)
    except RecipeError as error:
        raise RecipeError(f"{mark}: extends: {error}" if mark else str(error)) from None
    value = document.value
    if value is None:
        raise RecipeError(f"{path}: is empty; expected `api: 1` and `detectors:`, see `detzoo show ssd300_vgg16_voc`")
    if not isinstance(value, dict) or not isinstance(value.get("detectors"), dict) or not value["detectors"]:
        raise RecipeError(f"{path}:1: expected a mapping with `api: 1` and `detectors:`, each a name with its recipe")
    extra = [key for key in value if key not in ("api", "detectors")]
    if extra:
        line = document.marks[(extra[0],)]
        raise RecipeError(f"{line}: {extra[0]}: {unknown('key of a recipe file', extra[0], ['api', 'detectors'])}")
    if value.get("api") != 1:
        raise RecipeError(
            f"{document.marks.get(('api',), Mark(str(path), 1))}: api: found {shown(value.get('api'))}; expected 1"
        )
    return document


def _only(document: Document) -> str:
    names = list(document.value["detectors"])
    if len(names) > 1:
        raise RecipeError(
            f"{document.file}: holds {len(names)} detectors; write {document.file}#NAME with one of {', '.join(names)}"
        )
    return str(names[0])


def _from_document(document: Document, name: str) -> Layer:
    detectors = document.value["detectors"]
    if name not in detectors:
        raise RecipeError(f"{document.file}: {unknown('detector', name, detectors)}")
    value = detectors[name]
    prefix = ("detectors", name)
    if not isinstance(value, dict):
        raise RecipeError(f"{document.marks[prefix]}: {show_key(prefix)}: found {shown(value)}; expected a mapping")
    marks = {key[2:]: mark for key, mark in document.marks.items() if key[:2] == prefix}
    return Layer(value, marks, f"{document.file}#{name}")
