"""Recipes: finding one, deriving it from its parent, checking all of it, and knowing where each value came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detzoo.errors import PluginError, RecipeError
from detzoo.plugins.recipe_header import EXTENDS, HEADER
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.class_names import class_names
from detzoo.recipes.compatibility import unmet_needs
from detzoo.recipes.files import layers_of
from detzoo.recipes.filling import component_fields, filled
from detzoo.recipes.full_names import PROVIDERS, missing_provider, resolve_name, with_resolved_names
from detzoo.recipes.hints import deeper, of_a_size
from detzoo.recipes.merge import Layer, Merged, keys_in, parse_override, shown_path
from detzoo.recipes.short_keys import full_key
from detzoo.runtime.near_names import nearest
from detzoo.schema.checking import Problem, check_fields, fits
from detzoo.schema.describing import describe, first_of, shown
from detzoo.schema.nodes import ComponentOf, Field, Fields, Settings
from detzoo.schema.searching import components_in
from detzoo.schema.yaml_source import MAX_DEPTH, TOO_DEEP, Key, Origin, show_key, write


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
    marks: dict[Key, Origin] = field(default_factory=dict, repr=False)
    chain: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its own name, without file or plugin: ``cells`` of ``runs/mine.yaml#cells``."""
        return short_name(self.chain[-1] if self.chain else self.name)

    def origin(self, key: Key) -> str:
        """``file:line`` that wrote a value, or ``default``."""
        return str(self.marks[key]) if key in self.marks else "default"

    def located(self, key: Key, message: str) -> str:
        """``file:line: detectors.cells.head: message`` for what a constructor rejected.

        The line is that of the key with which the message begins (``levels: ...``), else of the component; of its key
        that was written last where that stands in another file, because a child or ``--set`` is more likely wrong.
        """
        message = message.removeprefix(f"{key[-1]}: ") if key else message
        named = re.match(r"\w+", message)
        inner = (*key, named[0]) if named else key
        if inner not in self.marks:
            written = [k for k in self.marks if k[: len(key)] == key]
            last = written[-1] if written else key
            inner = key if key in self.marks and self.marks[last].file == self.marks[key].file else last
        where = nearest_mark(inner, self.marks, self.name)
        return f"{where}: {show_key(('detectors', self.title, *key))}: {message}"

    def to_yaml(self) -> str:
        """The recipe as a file of one's own, which builds the same detector."""
        recipe = {self.title: self.values}
        return write({"api": 1, "detectors": recipe})


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
    layers = layers_of(str(target), registry)
    merged = Merged()
    for i, layer in enumerate(layers):
        if i:
            merged.inherit()
        _check_join(merged, layer)
        merged.add(layer)
    merged.value.pop("extends", None)
    chain = tuple(layer.label for layer in layers)
    _override(merged, overrides, lambda: check(str(target), merged, registry, chain).values)
    return check(str(target), merged, registry, chain)


def recipe_from_values(
    name: str,
    values: dict[str, Any],
    overrides: Mapping[str, Any] | Sequence[str] | None = None,
    *,
    registry: Registry | None = None,
) -> Recipe:
    """Check values that were resolved before, as a checkpoint holds them, with ``overrides`` as in ``load_recipe``.

    Raises:
        RecipeError: something is wrong, or an override would change the classes, which belong to the weights.
    """
    for path, _, written in _override_items(overrides):
        if path.partition(".")[0] in ("num_classes", "classes"):
            raise RecipeError(f"{written}: a trained detector keeps its classes; train again for other ones")
    keys = keys_in(values)
    if max(map(len, keys), default=0) > MAX_DEPTH:  # a file may be altered; all that follows goes by recursion
        raise RecipeError(f"{name}: {TOO_DEEP}")
    merged = Merged(value=values)
    merged.marks |= {(): Origin(name)} | {key: Origin(name) for key in keys}
    _override(merged, overrides, lambda: values)
    return check(name, merged, registry or get_registry(), (name,))


def check(name: str, merged: Merged, registry: Registry, chain: tuple[str, ...]) -> Recipe:
    """Check a merged recipe and fill in the defaults.

    Raises:
        RecipeError: everything that is wrong with it.
    """

    def origin(key: Key) -> Origin:
        return nearest_mark(key, merged.marks, name)

    values = dict(merged.value)
    architecture = values.get("architecture")
    fields: Fields = {}
    if isinstance(architecture, str):
        architecture = resolve_name("architecture", architecture, origin(("architecture",)).file, registry)
        values["architecture"] = architecture
        fields, problems = _fields_of(architecture, registry)
    else:
        problems = _without_join(values, registry)
    if fields:
        values = with_resolved_names(fields, values, (), origin, registry)
        found = check_fields(fields | EXTENDS, values, (), what="the recipe")
        problems += [of_a_size(deeper(one, fields, values), values) for one in found]
        problems += check_inside(fields, values, (), registry)
        problems += _check_classes(values, merged)
    if fields and not problems:
        problems += unmet_needs(values, registry, merged.marks)
    if problems:
        problems = [_with_provider(problem, values, registry) for problem in problems]
        title = short_name(chain[-1] if chain else name)
        problems.sort(key=lambda problem: nearest_mark(problem.key, merged.marks, name).line)
        lines = (located(problem, merged.marks, title, name) for problem in problems)
        raise RecipeError(first_of(list(dict.fromkeys(lines))))
    return Recipe(name, filled(fields, values, registry), dict(merged.marks), chain, tuple(merged.dropped))


def _with_provider(problem: Problem, values: dict[str, Any], registry: Registry) -> Problem:
    """For a component whose plugin is gone: the distribution that the recipe was stored with."""
    found: Any = values
    for part in problem.key:
        at = dict(enumerate(found)) if isinstance(found, list) else found
        found = at.get(part) if isinstance(at, dict) else None
    providers = values.get(PROVIDERS)
    if problem.key[-1:] not in (("type",), ("architecture",)) or not isinstance(found, str):
        return problem
    told = missing_provider(found, providers if isinstance(providers, dict) else {}, registry)
    return Problem(problem.key, f"{problem.message.partition(';')[0]}; {told}") if told else problem


def check_component(kind: str, value: Any, key: Key, registry: Registry) -> list[Problem]:
    """Everything wrong with one component's configuration, nested ones included."""
    if not isinstance(value, dict):
        return [Problem(key, _no_mapping(kind, value, registry))]
    if "type" not in value:
        return [Problem(key, f'missing key "type" of this {kind}; {_installed(kind, registry)}')]
    name = value["type"]
    if not isinstance(name, str):
        wrong = f"found {shown(name)}; expected the name of one {kind}; {_installed(kind, registry)}"
        return [Problem((*key, "type"), wrong)]
    try:
        fields = component_fields(kind, name, registry)
    except (RecipeError, PluginError) as error:
        return [Problem((*key, "type"), str(error))]
    rest = {k: v for k, v in value.items() if k != "type"}
    problems = check_fields(fields, rest, key, what=f'{kind} "{name}"')
    return problems + check_inside(fields, rest, key, registry)


def _no_mapping(kind: str, value: Any, registry: Registry) -> str:
    """What to write in place of a value that is no component; a name is looked up."""
    found = f"found {shown(value)}"
    if not isinstance(value, str):
        return f"{found}; expected {describe(ComponentOf(kind))}"
    try:
        registry.find(kind, value)
    except (RecipeError, PluginError) as error:
        return f"{found}; expected {{type: NAME}}; {error}"
    return f"{found}; expected {{type: {value}}}"


def _installed(kind: str, registry: Registry) -> str:
    return f"installed: {', '.join(entry.name for entry in registry.entries(kind))}"


def short_name(target: str) -> str:
    """``runs/mine.yaml#cells`` -> ``cells``; ``ssd/ssd300`` -> ``ssd300``."""
    return target.rpartition("#")[2].rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")


def located(problem: Problem, marks: dict[Key, Origin], title: str, name: str) -> str:
    """``file:line: detectors.mine.head.ratios[2]: message``; the line of the nearest key that was written.

    Args:
        problem: what is wrong, and where in the recipe.
        marks: where its keys were written.
        title: the recipe's own name.
        name: what it was asked for as, for what has no line.
    """
    where = nearest_mark(problem.key, marks, name)
    return f"{where}: {show_key(('detectors', title, *problem.key))}: {problem.message}"


def nearest_mark(key: Key, marks: dict[Key, Origin], name: str) -> Origin:
    """The mark of a key, or of the nearest one around it that was written; else of all of ``name``."""
    while key and key not in marks:
        key = key[:-1]
    return marks.get(key, Origin(name))


def _fields_of(architecture: str, registry: Registry) -> tuple[Fields, list[Problem]]:
    try:
        slots = registry.schema(registry.find("architecture", architecture)).fields
        settings = {name: registry.schema(registry.find("settings", name)).fields for name in ("input", "train")}
    except (RecipeError, PluginError) as error:
        return {}, [Problem(("architecture",), str(error))]
    nested = {name: Field(Settings(fields)) for name, fields in settings.items()}
    return HEADER | nested | slots, []


def _without_join(values: dict[str, Any], registry: Registry) -> list[Problem]:
    """What can be said of a recipe whose meta-architecture, and so whose slots, are not known."""
    architectures = [entry.name for entry in registry.entries("architecture")]
    known = HEADER | EXTENDS
    problems = [
        Problem((name,), f"unknown key {shown(name)} of the recipe; {hint}")
        for name in values
        if name not in known and (hint := nearest(name, known))
    ]
    if "architecture" in values:
        wrong = f"found {shown(values['architecture'])}; expected the name of one meta-architecture"
        return [*problems, Problem(("architecture",), f"{wrong}; installed: {', '.join(architectures)}")]
    missing = 'missing key "architecture" of the recipe, or "extends" to derive it from another'
    return [*problems, Problem((), f"{missing}; installed meta-architectures: {', '.join(architectures)}")]


def _check_classes(values: dict[str, Any], merged: Merged) -> list[Problem]:
    number: Any = values.get("num_classes")
    names = values.get("classes")
    if not fits(HEADER["num_classes"].type, number) or not fits(HEADER["classes"].type, names):
        return []
    try:
        class_names(names, number)
    except RecipeError as error:
        # of the two keys, the one that was written last is the one to look at; a misspelt set has nothing to do with it
        written = list(merged.marks) if str(error).startswith("num_classes") else [("classes",)]
        return [Problem(next(key for key in reversed(written) if key in (("num_classes",), ("classes",))), str(error))]
    return []


def check_inside(fields: Fields, values: dict[str, Any], key: Key, registry: Registry) -> list[Problem]:
    """Everything wrong with the components inside a mapping."""
    problems: list[Problem] = []
    for name, item in fields.items():
        if name in values:
            for node, value, at in components_in(item.type, values[name], (*key, name)):
                problems += check_component(node.kind, value, at, registry)
    return problems


def _override(
    merged: Merged, overrides: Mapping[str, Any] | Sequence[str] | None, whole: Callable[[], dict[str, Any]]
) -> None:
    items = _override_items(overrides)
    known = {*merged.value, *HEADER}
    top = [path for path, _, _ in items if path.partition(".")[0].partition("[")[0] not in known]
    if top:  # a short key, one that has its default so far, or a misspelt one
        try:
            values = whole()
        except RecipeError:  # of the recipe itself: told with the overrides' errors
            values = merged.value
        items = [_in_full(item, values) if item[0] in top else item for item in items]
    for path, value, written in items:
        if path == "architecture" or path.startswith("architecture."):
            raise RecipeError(
                f"{written}: the meta-architecture cannot be changed; extend a recipe that has the one you want"
            )
        merged.override(path, value, written=written)


def _in_full(item: tuple[str, Any, str], values: Mapping[str, Any]) -> tuple[str, Any, str]:
    path, value, written = item
    full = full_key(path, values, written)
    return full, value, written.replace(shown_path(path), shown_path(full))


def _override_items(overrides: Mapping[str, Any] | Sequence[str] | None) -> list[tuple[str, Any, str]]:
    """(path, value, how the user wrote the path: on the command line, or in Python)."""
    if overrides is None:
        return []
    if isinstance(overrides, Mapping):
        return [(path, value, f'overrides["{shown_path(path)}"]') for path, value in overrides.items()]
    return [(path, value, f"--set {shown_path(path)}") for path, value in map(parse_override, overrides)]


def _check_join(merged: Merged, layer: Layer) -> None:
    old, new = merged.value.get("architecture"), layer.value.get("architecture")
    if old is not None and new is not None and new != old:
        message = f"found {shown(new)}; the parent recipe is a {shown(old)}, and a recipe cannot change that"
        title = short_name(layer.label)
        raise RecipeError(located(Problem(("architecture",), message), layer.marks, title, layer.label))
