"""The manifest: ``registry.yaml`` in a plugin's package. It says what the plugin holds, so that nothing is imported.

It is written by the author alone. ``schemas.json`` next to it is written by ``detzoo registry sync``: what the classes
of the components say of themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from detzoo.errors import PluginError, RecipeError
from detzoo.plugins.conformance import FIELDS as CONFORMANCE
from detzoo.plugins.conformance import Conformance, check_conformance, read_conformance
from detzoo.plugins.entries import NAME, NAME_RULE, SCHEMAS, Entry, StoredComponents, key_of
from detzoo.plugins.kinds import FIELDS as KIND
from detzoo.plugins.kinds import OwnKind, check_kinds, check_target
from detzoo.plugins.recipe_header import EXTENDS, HEADER
from detzoo.schema.checking import Problem, check_fields
from detzoo.schema.describing import first_of, shown
from detzoo.schema.nodes import DictOf, Field, Fields, Integer, ListOf, Null, Settings, Text
from detzoo.schema.yaml_source import Document, Key, Origin, read, show_key

API_VERSION: Final = 1
OLDEST_API: Final = 1

_TEXT: Final = Text(min_length=1)
_STRINGS: Final = Field(ListOf(_TEXT), default=[])
_CONVERTER: Final[Fields] = {
    "source": Field(_TEXT),
    "detectors": Field(ListOf(_TEXT)),
}
_MANIFEST: Final[Fields] = {
    "api": Field(Integer(ge=1)),
    "kinds": Field(ListOf(Settings(KIND)), default=[]),
    "components": _STRINGS,
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
class Manifest:
    """A checked manifest.

    Args:
        plugin: name of its entry point; ``core`` for detzoo itself.
        api: version of the contract it was written for.
        kinds: that it brings.
        targets: ``package.module:Class`` of its components.
        entries: of those components that ``detzoo registry sync`` has written down, in that order; the registry adds
            the others, whose classes it must load.
        detectors: recipes by name, as written.
        converters: ``{source, detectors}``.
        hooks: names of the hooks it implements.
        elsewhere: components that its recipes can take but another distribution provides: ``kind/name`` -> its name.
        conformance: what the conformance kit needs to know.
        document: as it was read, with marks.
        stored: what is written down of the components.
    """

    plugin: str
    api: int
    targets: tuple[str, ...]
    entries: tuple[Entry, ...]
    detectors: dict[str, Any]
    converters: tuple[dict[str, Any], ...]
    hooks: tuple[str, ...]
    document: Document
    stored: StoredComponents
    elsewhere: dict[str, str] = field(default_factory=dict)
    conformance: Conformance = field(default_factory=Conformance)
    kinds: tuple[OwnKind, ...] = ()

    @property
    def unread(self) -> tuple[str, ...]:
        """Targets of which nothing is known yet: kind, name and summary are the class's."""
        known = {entry.target for entry in self.entries}
        return tuple(target for target in self.targets if target not in known)


def read_manifest(path: Path, plugin: str) -> Manifest:
    """Read and check a manifest.

    Args:
        path: of ``registry.yaml``.
        plugin: name of the entry point that it belongs to.

    Raises:
        IncompatibleError: it was written for another api; its keys are not looked at.
        PluginError: every other defect at once, each with file, line and path.
    """
    try:
        document = read(path)  # no device, no folder, no file that fills the memory
    except RecipeError as error:
        raise PluginError(str(error)) from None
    value = document.value
    if not isinstance(value, dict):
        raise PluginError(f"{path}: a manifest is a mapping with the keys {', '.join([*_MANIFEST, 'detectors'])}")
    _check_api(value.get("api"))
    problems = check_manifest(value)
    targets = () if problems else tuple(value.get("components", []))
    stored = StoredComponents(path.with_name(SCHEMAS))
    entries = tuple(entry for target in targets if (entry := stored.entry(plugin, target)))
    if not problems and len(entries) == len(targets):
        problems += check_entries(value, entries)
    if problems:
        raise PluginError(first_of([locate(problem, document) for problem in problems]))
    return Manifest(
        plugin=plugin,
        api=value["api"],
        targets=targets,
        entries=entries,
        detectors=value.get("detectors") or {},
        converters=tuple(value.get("converters", [])),
        hooks=tuple(value.get("hooks", [])),
        document=document,
        stored=stored,
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
    targets = value.get("components", [])
    for i, target in enumerate(targets):
        problems += check_target(target, ("components", i))
        if target in targets[:i]:
            problems.append(Problem(("components", i), f"{target} is named twice"))
    return problems


def check_entries(value: dict[str, Any], entries: Sequence[Entry]) -> list[Problem]:
    """What is wrong once kind and name of every component are known.

    Args:
        value: the manifest's, which ``check_manifest`` finds right.
        entries: of all its components, in their order.
    """
    problems = []
    keys = [key_of(entry.kind, entry.name) for entry in entries]
    for i, (key, entry) in enumerate(zip(keys, entries, strict=True)):
        if key in keys[:i]:
            other = entries[keys.index(key)].target
            told = f'{entry.kind} "{entry.name}" is {other} already; give one of the classes another `name`'
            problems.append(Problem(("components", i), told))
    return problems + check_conformance(value.get("conformance", {}), sorted(keys), value.get("detectors") or {})


def _check_recipe(name: str, recipe: Any) -> list[Problem]:
    key = ("detectors", name)
    if not NAME.fullmatch(name):
        return [Problem(key, f"found {shown(name)}; {NAME_RULE}")]
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


def _kind(plugin: str, item: dict[str, Any]) -> OwnKind:
    return OwnKind(plugin, item["kind"], item["interface"], item.get("conformance"))


def core_manifest() -> Path:
    """Where the core's own manifest lies."""
    return Path(__file__).parents[1] / "components" / "registry.yaml"


__all__ = [
    "API_VERSION",
    "OLDEST_API",
    "IncompatibleError",
    "Key",
    "Manifest",
    "check_entries",
    "check_manifest",
    "core_manifest",
    "locate",
    "read_manifest",
]
