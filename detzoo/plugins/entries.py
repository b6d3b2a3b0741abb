"""The components of a manifest: a class each, and what ``detzoo registry sync`` wrote of it in ``schemas.json``.

A manifest names classes alone. Kind, name and summary are the class's own, and are written down next to the manifest
with its schema, so that nothing is imported to list them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from detzoo.errors import PluginError
from detzoo.feature import Abilities
from detzoo.schema.describing import shown
from detzoo.schema.nodes import Schema
from detzoo.schema.reading import read_schema

SCHEMAS: Final = "schemas.json"
"""Name of the file that ``detzoo registry sync`` writes next to the manifest."""
NAME: Final = re.compile(r"\w[\w.+-]*")
NAME_RULE: Final = "expected a name of letters, digits, _ - + and ."

_STORED: Final = {"kind", "name", "summary", "supplies", "fields", "gives", "needs"}
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Entry:
    """One component.

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


def key_of(kind: str, name: str) -> str:
    """``kind/name``: how manifests and the zoo's index name a component."""
    return f"{kind}/{name}"


def check_name(kind: str, name: str) -> None:
    """Reject a name that could not be written in a recipe.

    Raises:
        PluginError: with what is allowed.
    """
    if not NAME.fullmatch(name):
        raise PluginError(f"name of a {kind}: found {shown(name)}; {NAME_RULE}")


def entry_of(plugin: str, cls: type[Any], target: str) -> Entry:
    """A component as its class tells it.

    The kind is the class attribute ``kind``, which the interface has. The name is the class attribute ``name`` of the
    class itself, else the name of the class in small letters: ``BoxFilter`` is ``box_filter``. The summary is the first
    line of its docstring.

    Args:
        plugin: that names the class in its manifest.
        cls: the class.
        target: ``package.module:Class``.

    Raises:
        PluginError: the class has no kind, or a name that a recipe could not write.
    """
    kind = getattr(cls, "kind", None)
    if not isinstance(kind, str):
        raise PluginError(f"{target} is no component: it has no `kind`; derive it from a class of detzoo.interfaces")
    own = vars(cls).get("name")  # not a parent's: two components would have one name
    name = own if isinstance(own, str) else snake_case(cls.__name__)
    check_name(kind, name)
    return Entry(plugin, kind, name, target, summary_of(cls) or name)


def snake_case(class_name: str) -> str:
    """``BoxFilter`` -> ``box_filter``."""
    return _WORDS.sub("_", class_name).lower()


def summary_of(cls: type[Any]) -> str:
    """The first line of a class's own docstring, without its full stop; empty where there is none."""
    text: str = vars(cls).get("__doc__") or ""
    return text.strip().partition("\n")[0].rstrip().removesuffix(".").replace("``", "")


class StoredComponents:
    """What ``detzoo registry sync`` wrote of a plugin's components.

    What is missing, or was written by another detzoo, is read from the classes in its place.

    Args:
        path: of ``schemas.json``; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def by_target(self) -> dict[str, dict[str, Any]]:
        """``package.module:Class`` -> kind, name, summary, supplies, fields, gives and needs."""
        try:
            found = json.loads(self._text)
        except (ValueError, RecursionError):
            return {}
        return {name: one for name, one in found.items() if _is_stored(one)} if isinstance(found, dict) else {}

    def entry(self, plugin: str, target: str) -> Entry | None:
        """A component as it was written down; None where it was not."""
        one = self.by_target.get(target)
        return None if one is None else Entry(plugin, one["kind"], one["name"], target, one["summary"])

    def schema(self, entry: Entry) -> Schema | None:
        """The stored schema of a component; None where there is none.

        Raises:
            PluginError: it is not what ``detzoo registry sync`` writes.
        """
        stored = self._of(entry)
        if stored is None:
            return None
        line = self._text.count("\n", 0, self._text.find(json.dumps(entry.target))) + 1
        key = (key_of(entry.kind, entry.name),)
        return read_schema({name: stored[name] for name in ("supplies", "fields")}, f"{self.path}:{line}", key)

    def abilities(self, entry: Entry) -> Abilities | None:
        """What a component gives and needs, as it was written down; None where it was not."""
        stored = self._of(entry)
        return None if stored is None else Abilities(frozenset(stored["gives"]), frozenset(stored["needs"]))

    def _of(self, entry: Entry) -> dict[str, Any] | None:
        return self.by_target.get(entry.target) if isinstance(entry.target, str) else None

    @cached_property
    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""


def _is_stored(one: Any) -> bool:
    """Whether a value is what this detzoo writes of a component; its schema is read when it is asked for."""
    if not isinstance(one, dict) or set(one) != _STORED:
        return False
    texts = all(isinstance(one[key], str) for key in ("kind", "name", "summary")) and NAME.fullmatch(one["name"])
    words = (word for key in ("gives", "needs") for word in (one[key] if isinstance(one[key], list) else [None]))
    return bool(texts) and all(isinstance(word, str) for word in words)


__all__ = [
    "NAME",
    "NAME_RULE",
    "SCHEMAS",
    "Entry",
    "StoredComponents",
    "check_name",
    "entry_of",
    "key_of",
    "snake_case",
    "summary_of",
]
