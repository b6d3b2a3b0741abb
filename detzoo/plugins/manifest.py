"""The manifest: ``registry.yaml`` in a plugin's package. It says what the plugin holds, so that nothing is imported.

It is written by the author alone. ``schemas.json`` next to it is written by ``detzoo registry sync``: the signatures of
the components, and what they give and need.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from detzoo.errors import PluginError, RecipeError
from detzoo.plugins.conformance import FIELDS as CONFORMANCE
from detzoo.plugins.conformance import Conformance, check_conformance, read_conformance
from detzoo.plugins.kinds import FIELDS as KIND
from detzoo.plugins.kinds import OwnKind, check_kinds, check_target
from detzoo.plugins.recipe_header import EXTENDS, HEADER
from detzoo.schema.checking import Problem, check_fields
from detzoo.schema.describing import shown
from detzoo.schema.nodes import DictOf, Field, Fields, Integer, ListOf, Null, Schema, Settings, Text
from detzoo.schema.reading import read_schema
from detzoo.schema.yaml_source import Document, Key, Origin, parse, show_key

API_VERSION: Final = 1
OLDEST_API: Final = 1
SCHEMAS: Final = "schemas.json"
"""Name of the file that ``detzoo registry sync`` writes next to the manifest."""

_STORED: Final = {"supplies", "fields", "gives", "needs"}
_NAME: Final = re.compile(r"\w[\w.+-]*")
_NAME_RULE: Final = "expected a name of letters, digits, _ - + and ."
_TEXT: Final = Text(min_length=1)
_STRINGS: Final = Field(ListOf(_TEXT), default=[])
_COMPONENT: Final[Fields] = {
    "kind": Field(_TEXT),
    "name": Field(_TEXT),
    "target": Field(_TEXT),
    "summary": Field(_TEXT),
}
_CONVERTER: Final[Fields] = {
    "source": Field(_TEXT),
    "detectors": Field(ListOf(_TEXT)),
}
_MANIFEST: Final[Fields] = {
    "api": Field(Integer(ge=1)),
    "plugin": Field(_TEXT),
    "kinds": Field(ListOf(Settings(KIND)), default=[]),
    "components": Field(ListOf(Settings(_COMPONENT)), default=[]),
    "converters": Field(ListOf(Settings(_CONVERTER)), default=[]),
    "hooks": _STRINGS,
    "elsewhere": Field(DictOf(_TEXT), default={}),
    "conformance": Field(Settings(CONFORMANCE), default={}),
}
_INHERITABLE: Final = {name: Field(item.type, default=None) for name, item in (HEADER | EXTENDS).items()}
"""The header as one recipe may write it: whatever it leaves out can come from its parent."""


class IncompatibleError(PluginError):
    """A manifest of another api: older or newer than this detzoo reads."""


@dataclass(frozen=True)
class Entry:
    """One component as its manifest declares it.

    Args:
        plugin: name of the plugin that holds it; ``core`` for detzoo's own.
        kind: its interface.
        name: short name; ``plugin/name`` is the full id.
        target: ``package.module:Class``, or the class itself when registered by a hook.
        summary: one line.
    """

    plugin: str
    kind: str
    name: str
    target: str | type[Any]
    summary: str

    @property
    def id(self) -> str:
        """``ssd/ssd_head``."""
        return f"{self.plugin}/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """A checked manifest.

    Args:
        plugin: its name, equal to that of its entry point.
        api: version of the contract it was written for.
        kinds: that it brings.
        entries: components.
        detectors: recipes by name, as written.
        converters: ``{source, detectors}``.
        hooks: names of the hooks it implements.
        elsewhere: components that its recipes can take but another distribution provides: ``kind/name`` -> its name.
        conformance: what the conformance kit needs to know.
        document: as it was read, with marks.
    """

    plugin: str
    api: int
    entries: tuple[Entry, ...]
    detectors: dict[str, Any]
    converters: tuple[dict[str, Any], ...]
    hooks: tuple[str, ...]
    document: Document
    elsewhere: dict[str, str] = field(default_factory=dict)
    conformance: Conformance = field(default_factory=Conformance)
    kinds: tuple[OwnKind, ...] = ()

    @cached_property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """By ``kind/name``: supplies, fields, gives and needs; read when they are asked for, `detzoo list` does not.

        What is missing, or was written by another detzoo, is read from the classes in its place.
        """
        try:
            found = json.loads(self._schemas_text)
        except ValueError:
            return {}
        items = found.items() if isinstance(found, dict) else ()
        return {name: one for name, one in items if isinstance(one, dict) and set(one) == _STORED}

    def schema(self, kind: str, name: str) -> Schema | None:
        """The stored schema of a component; None where there is none.

        Raises:
            PluginError: it is not what ``detzoo registry sync`` writes.
        """
        key = key_of(kind, name)
        stored = self.schemas.get(key)
        if stored is None:
            return None
        text = self._schemas_text
        line = text.count("\n", 0, text.find(json.dumps(key))) + 1
        where = f"{Path(self.document.file).with_name(SCHEMAS)}:{line}"
        return read_schema({name: stored[name] for name in ("supplies", "fields")}, where, (key,))

    @cached_property
    def _schemas_text(self) -> str:
        try:
            return Path(self.document.file).with_name(SCHEMAS).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        IncompatibleError: it was written for another api; its keys are not looked at.
        PluginError: every other defect at once, each with file, line and path.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PluginError(f"{path}: the manifest cannot be read ({reason})") from None
    try:
        document = parse(text, str(path))
    except RecipeError as error:
        raise PluginError(str(error)) from None
    value = document.value
    if not isinstance(value, dict):
        raise PluginError(f"{path}: a manifest is a mapping with the keys {', '.join([*_MANIFEST, 'detectors'])}")
    _check_api(value.get("api"))
    problems = check_manifest(value)
    if problems:
        raise PluginError("\n".join(locate(problem, document) for problem in problems))
    plugin = value["plugin"]
    return Manifest(
        plugin=plugin,
        api=value["api"],
        entries=tuple(_entry(plugin, item) for item in value.get("components", [])),
        detectors=value.get("detectors") or {},
        converters=tuple(value.get("converters", [])),
        hooks=tuple(value.get("hooks", [])),
        document=document,
        elsewhere=value.get("elsewhere") or {},
        conformance=read_conformance(value.get("conformance", {})),
        kinds=tuple(_kind(plugin, item) for item in value.get("kinds", [])),
    )


def _check_api(api: Any) -> None:
    if isinstance(api, int) and api > API_VERSION:
        raise IncompatibleError(f"it was written for api {api}, this detzoo has api {API_VERSION}; upgrade detzoo")
    if isinstance(api, int) and 0 < api < OLDEST_API:
        raise IncompatibleError(f"it was written for api {api}, this detzoo needs {OLDEST_API}; upgrade the plugin")


def check_manifest(value: dict[str, Any]) -> list[Problem]:
    """Everything wrong with a manifest's own keys, and with what `detzoo list` reads of its recipes.

    The rest of a recipe is checked when it is resolved; whether the kinds of its components exist, when all manifests
    have been read, for another plugin may bring them.
    """
    own = {k: v for k, v in value.items() if k != "detectors"}
    problems = check_fields({**_MANIFEST, "detectors": Field(Null(), default=None)}, own, (), what="the manifest")
    detectors = value.get("detectors")
    if isinstance(detectors, dict):
        problems += [problem for name, recipe in detectors.items() for problem in _check_recipe(name, recipe)]
    elif detectors is not None:
        problems.append(Problem(("detectors",), f"found {shown(detectors)}; expected a mapping of names to recipes"))
    if problems:
        return problems
    problems += check_kinds(value.get("kinds", []))
    seen: set[tuple[str, str]] = set()
    for i, item in enumerate(value.get("components", [])):
        if (item["kind"], item["name"]) in seen:
            problems.append(Problem(("components", i), f'{item["kind"]} "{item["name"]}" is declared twice'))
        seen.add((item["kind"], item["name"]))
        problems += check_target(item["target"], ("components", i, "target"))
        if not _NAME.fullmatch(item["name"]):
            problems.append(Problem(("components", i, "name"), f"found {shown(item['name'])}; {_NAME_RULE}"))
    keys = [key_of(kind, name) for kind, name in sorted(seen)]
    return problems + check_conformance(value.get("conformance", {}), keys, detectors or {})


def check_name(kind: str, name: str) -> None:
    """Reject a name that could not be written in a recipe.

    Raises:
        PluginError: with what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise PluginError(f"name of a {kind}: found {shown(name)}; {_NAME_RULE}")


def _check_recipe(name: str, recipe: Any) -> list[Problem]:
    key = ("detectors", name)
    if not _NAME.fullmatch(name):
        return [Problem(key, f"found {shown(name)}; {_NAME_RULE}")]
    if not isinstance(recipe, dict):
        return [Problem(key, f"found {shown(recipe)}; expected a mapping of the recipe's keys")]
    header = {k: v for k, v in recipe.items() if k in HEADER or k in EXTENDS}
    return check_fields(_INHERITABLE, header, key, what=f'detector "{name}"')


def locate(problem: Problem, document: Document) -> str:
    """``file:line: path: message``; the line of the nearest key that was written."""
    key = problem.key
    while key and key not in document.marks:
        key = key[:-1]
    mark = document.marks.get(key, Origin(document.file))
    path = show_key(problem.key)
    return f"{mark}: {path}: {problem.message}" if path else f"{mark}: {problem.message}"


def _entry(plugin: str, item: dict[str, Any]) -> Entry:
    return Entry(
        plugin=plugin,
        kind=item["kind"],
        name=item["name"],
        target=item["target"],
        summary=item["summary"],
    )


def _kind(plugin: str, item: dict[str, Any]) -> OwnKind:
    return OwnKind(plugin, item["kind"], item["interface"], item.get("conformance"))


def core_manifest() -> Path:
    """Where the core's own manifest lies."""
    return Path(__file__).parents[1] / "components" / "registry.yaml"


def key_of(kind: str, name: str) -> str:
    """Key of a component in ``Manifest.schemas``."""
    return f"{kind}/{name}"


__all__ = [
    "API_VERSION",
    "OLDEST_API",
    "SCHEMAS",
    "Entry",
    "IncompatibleError",
    "Key",
    "Manifest",
    "check_manifest",
    "check_name",
    "core_manifest",
    "key_of",
    "locate",
    "read_manifest",
]
