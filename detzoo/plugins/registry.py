"""The registry: names of components and detectors -> what their manifests say. Torch-free until a class is loaded."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Iterable
from functools import cache, cached_property
from importlib.metadata import EntryPoint
from typing import Any

from detzoo.errors import PluginError, RecipeError
from detzoo.feature import Abilities, abilities_of
from detzoo.plugins.manager import PluginManager, PluginRecord, describe_failure
from detzoo.plugins.manifest import Entry, Manifest, check_name, key_of
from detzoo.plugins.zoo_index import zoo_plugins
from detzoo.schema.describing import nearest
from detzoo.schema.nodes import Schema


class Registry:
    """Everything the installed plugins declare.

    Args:
        found: entry points to read; those of the environment when None.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        self.plugins = PluginManager(found)
        self._entries: dict[tuple[str, str], list[Entry]] = {}
        self._classes: dict[tuple[str, str], type[Any]] = {}
        self._schemas: dict[tuple[str, str], Schema] = {}
        self._derived: dict[tuple[str, str], Schema] = {}
        for record in self.plugins.usable():
            for entry in record.manifest.entries if record.manifest else ():
                self._entries.setdefault((entry.kind, entry.name), []).append(entry)
        self._registering = False
        self._registrant = "local"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of component there is, sorted: the core's and those that plugins bring."""
        return self.plugins.kind_names()

    # Components

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All components, or those of one kind, sorted by kind and name."""
        self._run_register_hooks()
        found = [e for entries in self._entries.values() for e in entries if kind in (None, e.kind)]
        return sorted(found, key=lambda e: (e.kind, e.name, e.plugin))

    def find(self, kind: str, name: str) -> Entry:
        """The component of a kind with a short name (while it is unique) or a full id ``plugin/name``.

        Raises:
            RecipeError: no such name, with the nearest ones and where it could come from; or an ambiguous one.
        """
        plugin, slash, short = name.rpartition("/")
        found = self._entries.get((kind, short), [])
        if not found:
            self._run_register_hooks()
            found = self._entries.get((kind, short), [])
        if slash:
            found = [entry for entry in found if entry.plugin == plugin]
        if len(found) == 1:
            return found[0]
        if found:
            ids = " or ".join(sorted(entry.id for entry in found))
            raise RecipeError(f'{kind} "{name}" is ambiguous; write {ids}')
        raise RecipeError(self.missing_component(kind, name))

    def schema(self, entry: Entry) -> Schema:
        """What a component is configured with: what was written by ``registry sync``, else from the class.

        Raises:
            PluginError: what was written is not what this detzoo writes.
        """
        key = (entry.kind, entry.id)
        if key not in self._schemas:
            manifest = self._synced(entry)
            stored = None if manifest is None else manifest.schema(entry.kind, entry.name)
            self._schemas[key] = stored or self.derive(entry)
        return self._schemas[key]

    def abilities(self, entry: Entry) -> Abilities:
        """What a component's class gives and needs: what was written by ``registry sync``, else from the class."""
        manifest = self._synced(entry)
        stored = None if manifest is None else manifest.schemas.get(key_of(entry.kind, entry.name))
        if stored is None:
            return abilities_of(self.load(entry))
        return Abilities(frozenset(stored["gives"]), frozenset(stored["needs"]))

    def _synced(self, entry: Entry) -> Manifest | None:
        """The manifest that declares a component; None where a hook registered its class."""
        return None if isinstance(entry.target, type) else self.plugins.records[entry.plugin].manifest

    def derive(self, entry: Entry) -> Schema:
        """The schema read from the class itself; loads it."""
        key = (entry.kind, entry.id)
        if key not in self._derived:
            from detzoo.schema.signature import schema_of

            self._derived[key] = schema_of(self.load(entry))
        return self._derived[key]

    def load(self, entry: Entry) -> type[Any]:
        """The component's class; activates its plugin.

        Raises:
            PluginError: it cannot be imported, or is not of its kind.
        """
        key = (entry.kind, entry.id)
        if key in self._classes:
            return self._classes[key]
        self.plugins.activate(entry.plugin)
        cls = entry.target if isinstance(entry.target, type) else self._import(entry)
        self._check_class(entry, cls)
        self._classes[key] = cls
        return cls

    def register(
        self,
        kind: str,
        name: str,
        cls: type[Any],
        *,
        plugin: str | None = None,
        summary: str = "",
    ) -> None:
        """Add a class by hand: for hooks, notebooks and tests. The same class again changes nothing.

        Args:
            kind: its interface.
            name: short name.
            cls: the class.
            plugin: who owns it; None is the plugin whose hook is running, ``local`` outside of one.
            summary: one line; the first of the docstring when empty.

        Raises:
            PluginError: the id belongs to another class, the class is not of its kind, or its signature is no schema.
        """
        from detzoo.schema.signature import schema_of

        plugin = plugin or self._registrant
        summary = summary or (inspect.getdoc(cls) or name).splitlines()[0]
        entry = Entry(plugin, kind, name, cls, summary)
        where = _place(cls)
        for other in self._entries.get((kind, name), []):
            if other.plugin == plugin:
                if other.target is cls or other.target == where:
                    return
                theirs = other.target if isinstance(other.target, str) else _place(other.target)
                raise PluginError(f'{kind} "{entry.id}" is {theirs} already, not {where}; choose another name')
        if kind not in self.kinds:
            raise PluginError(self.plugins.unknown_kind(kind))
        check_name(kind, name)
        self._check_class(entry, cls)
        self._derived[(kind, entry.id)] = schema_of(cls)
        self.plugins.records.setdefault(plugin, PluginRecord(plugin, "", "registered by hand", status="ok"))
        self._entries.setdefault((kind, name), []).append(entry)

    # Detectors

    def detectors(self) -> dict[str, PluginRecord]:
        """Names of all recipes, sorted, with their plugins; an ambiguous name appears as ``plugin/name``."""
        found: dict[str, list[PluginRecord]] = {}
        for record in self.plugins.usable():
            for name in record.manifest.detectors if record.manifest else ():
                found.setdefault(name, []).append(record)
        names: dict[str, PluginRecord] = {}
        for name, records in found.items():
            for record in records:
                names[name if len(records) == 1 else f"{record.name}/{name}"] = record
        return dict(sorted(names.items()))

    def written(self, name: str) -> Any:
        """A recipe as its manifest writes it.

        Raises:
            RecipeError: no such name.
        """
        record, short = self.locate(name)
        assert record.manifest is not None
        return record.manifest.detectors[short]

    def locate(self, name: str) -> tuple[PluginRecord, str]:
        """The plugin that holds a recipe, and its short name.

        Raises:
            RecipeError: no such name, with the nearest ones and where it could come from; or an ambiguous one.
        """
        plugin, slash, short = name.rpartition("/")
        found = [
            record
            for record in self.plugins.usable()
            if record.manifest and short in record.manifest.detectors and (not slash or record.name == plugin)
        ]
        if len(found) == 1:
            return found[0], short
        if found:
            ids = " or ".join(sorted(f"{record.name}/{short}" for record in found))
            raise RecipeError(f'detector "{name}" is ambiguous; write {ids}')
        raise RecipeError(self._missing_detector(name, self.detectors()))

    @cached_property
    def installable(self) -> dict[str, Any]:
        """The zoo's index: distribution -> its components and detectors; empty where the index is missing."""
        return zoo_plugins()

    def provider(self, section: str, name: str) -> str | None:
        """Distribution that holds a component (``head/ssd``) or detector, by the index or by a plugin that knows it."""
        for plugin in self.installable.values():
            if name in plugin.get(section, {}):
                return str(plugin["distribution"])
        for record in self.plugins.usable():
            if section == "components" and record.manifest and name in record.manifest.elsewhere:
                return record.manifest.elsewhere[name]
        return None

    # How it works

    def _import(self, entry: Entry) -> type[Any]:
        assert isinstance(entry.target, str)
        module, _, attribute = entry.target.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:
            if os.environ.get("DETZOO_STRICT") == "1":
                raise
            trace = "".join(traceback.format_exception_only(error)).strip()
            raise PluginError(f'{entry.kind} "{entry.id}": importing {entry.target} failed: {trace}') from error
        if not isinstance(found, type):
            raise PluginError(f'{entry.kind} "{entry.id}": {entry.target} is not a class')
        return found

    def _check_class(self, entry: Entry, cls: type[Any]) -> None:
        """Reject a class that is not of its kind, or leaves a method of its interface out."""
        if entry.kind == "settings":
            return
        declared = getattr(cls, "kind", None)
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if declared != entry.kind or missing:
            why = f"it does not implement {', '.join(missing)}" if missing else f"its `kind` is {declared!r}"
            raise PluginError(f'{entry.kind} "{entry.id}" ({_place(cls)}) is not a {entry.kind}: {why}')

    def _run_register_hooks(self) -> None:
        if not self._registering:
            self._registering = True
            self.plugins.collect("detzoo_register", self._registering_for)
            self._registrant = "local"

    def _registering_for(self, record: PluginRecord) -> dict[str, Any]:
        self._registrant = record.name
        return {"registry": self}

    def missing_component(self, kind: str, name: str) -> str:
        """The sentence for a name that is not registered: the nearest ones, or where it could come from."""
        if kind not in self.kinds:
            return self.plugins.unknown_kind(kind)
        names = {e.id if "/" in name else e.name for e in self.entries(kind)}
        installed = f"installed: {', '.join(sorted(names)) or 'none'}"
        distribution = self.provider("components", key_of(kind, name.rpartition("/")[2]))
        if distribution:
            source = f"provided by {distribution}: pip install {distribution}"
            return f'{kind} "{name}" is not installed; {source}; {installed}'
        others = sorted({e.kind for e in self.entries() if e.name == name})
        elsewhere = f'"{name}" is a {" and a ".join(others)}' if others else ""
        return f'unknown {kind} "{name}"; ' + self._joined([nearest(name, names), elsewhere, installed])

    def _missing_detector(self, name: str, known: Iterable[str]) -> str:
        distribution = self.provider("detectors", name.rpartition("/")[2])
        if distribution:
            return f'detector "{name}" is not installed; provided by {distribution}: pip install {distribution}'
        parts = [nearest(name, known), "`detzoo list` shows all; a file of your own ends in .yaml"]
        return f'unknown detector "{name}"; ' + self._joined(parts)

    def _joined(self, parts: list[str]) -> str:
        """The parts that say something, then the plugins that could have held the name and are not used."""
        failures = [describe_failure(record) for record in self.plugins.unusable()]
        return "; ".join(part for part in [*parts, *failures] if part).replace("?; ", "? ")


def _place(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


@cache
def get_registry() -> Registry:
    """The registry of this process, made on first use."""
    return Registry()


def list_detectors() -> list[str]:
    """Names of every detector that the installed plugins provide; imports no plugin and no torch."""
    return list(get_registry().detectors())


__all__ = ["Registry", "get_registry", "list_detectors"]
