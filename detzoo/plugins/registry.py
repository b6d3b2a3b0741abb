"""The registry: names of components and detectors -> what their manifests say. Torch-free until a class is loaded.

A short name means, in this order: a component (or detector) of the plugin that writes it, of the core, of a plugin
that the writing one depends on, of any other plugin while it is the only one. What is registered by hand is the user's
own and comes first in what the user writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, cached_property
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Final, TypeVar

from detzoo.errors import PluginError, RecipeError
from detzoo.feature import Abilities, abilities_of
from detzoo.plugins.classes import check_class, import_class, place_of, with_all_entries
from detzoo.plugins.entries import Entry, StoredComponents, check_name, key_of, summary_of
from detzoo.plugins.manager import PluginManager, PluginRecord, describe_failure
from detzoo.plugins.zoo_index import zoo_plugins
from detzoo.runtime.foreign_files import is_folder
from detzoo.runtime.near_names import nearest, nearest_path
from detzoo.schema.nodes import Schema

LOCAL: Final = "local"
"""The plugin of what is registered by hand."""
_One = TypeVar("_One")


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
        self._unread = {r.name for r in self.plugins.usable() if r.manifest is not None and r.manifest.unread}
        self._registering = False
        self._registrant = LOCAL
        self.failures: dict[str, list[str]] = {}
        """By plugin: why components that ``detzoo registry sync`` has not written down cannot be read."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of component there is, sorted: the core's and those that plugins bring."""
        return self.plugins.kind_names()

    # Components

    def entries(self, kind: str | None = None) -> list[Entry]:
        """All components, or those of one kind, sorted by kind and name."""
        self.read_classes()
        self._run_register_hooks()
        found = [e for entries in self._entries.values() for e in entries if kind in (None, e.kind)]
        return sorted(found, key=lambda e: (e.kind, e.name, e.plugin))

    def find(self, kind: str, name: str, asker: str | None = None) -> Entry:
        """The component of a kind with a short name or a full id ``plugin/name``.

        Args:
            kind: of the component.
            name: short, or a full id.
            asker: the plugin whose manifest writes the name; None for the user, and for full ids.

        Raises:
            RecipeError: no such name, with the nearest ones and where it could come from; or an ambiguous one.
        """
        plugin, slash, short = name.rpartition("/")
        if self._may_be_unread(kind, short, plugin if slash else asker):
            self.read_classes()
        if (kind, short) not in self._entries:
            self._run_register_hooks()
        found = [entry for entry in self._entries.get((kind, short), ()) if not slash or entry.plugin == plugin]
        found = self._meant(found, lambda entry: entry.plugin, asker)
        if len(found) == 1:
            return found[0]
        if found:
            ids = " or ".join(sorted(entry.id for entry in found))
            raise RecipeError(f'{kind} "{name}" is ambiguous; write {ids}')
        raise RecipeError(self.missing_component(kind, name))

    def canonical(self, entry: Entry) -> str:
        """The name by which a user means a component: the short one, or its full id where that means another one."""
        same = self._entries.get((entry.kind, entry.name), [])
        return entry.name if self._meant(same, lambda one: one.plugin, None) == [entry] else entry.id

    def _meant(self, found: list[_One], plugin: Callable[[_One], str], asker: str | None) -> list[_One]:
        """Of all that have one short name: those that the asker means. More than one is ambiguous."""
        for plugins in ([asker or LOCAL], ["core"], self.plugins.dependencies(asker) if asker else []):
            nearest_ones = [one for one in found if plugin(one) in plugins]
            if nearest_ones:
                return nearest_ones
        return found

    def writer(self, file: str) -> str | None:
        """The plugin whose manifest a file is; None for a user's."""
        return self._writers.get(file)

    @cached_property
    def _writers(self) -> dict[str, str]:
        return {r.manifest.document.file: name for name, r in self.plugins.records.items() if r.manifest is not None}

    def schema(self, entry: Entry) -> Schema:
        """What a component is configured with: what was written by ``registry sync``, else from the class.

        Raises:
            PluginError: what was written is not what this detzoo writes.
        """
        key = (entry.kind, entry.id)
        if key not in self._schemas:
            stored = self._stored(entry)
            self._schemas[key] = (stored and stored.schema(entry)) or self.derive(entry)
        return self._schemas[key]

    def abilities(self, entry: Entry) -> Abilities:
        """What a component's class gives and needs: what was written by ``registry sync``, else from the class."""
        stored = self._stored(entry)
        return (stored and stored.abilities(entry)) or abilities_of(self.load(entry))

    def _stored(self, entry: Entry) -> StoredComponents | None:
        """What is written down next to the manifest that declares a component; None where a hook registered it."""
        manifest = None if isinstance(entry.target, type) else self.plugins.records[entry.plugin].manifest
        return None if manifest is None else manifest.stored

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
        target = entry.target
        cls = target if isinstance(target, type) else import_class(target, f'{entry.kind} "{entry.id}"')
        check_class(entry, cls)
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
        entry = Entry(plugin, kind, name, cls, summary or summary_of(cls) or name)
        where = place_of(cls)
        for other in self._entries.get((kind, name), []):
            if other.plugin == plugin:
                if other.target is cls or other.target == where:
                    return
                theirs = other.target if isinstance(other.target, str) else place_of(other.target)
                raise PluginError(f'{kind} "{entry.id}" is {theirs} already, not {where}; choose another name')
        if kind not in self.kinds:
            raise PluginError(self.plugins.unknown_kind(kind))
        check_name(kind, name)
        check_class(entry, cls)
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

    def written(self, name: str, asker: str | None = None) -> Any:
        """A recipe as its manifest writes it.

        Raises:
            RecipeError: no such name.
        """
        record, short = self.locate(name, asker)
        assert record.manifest is not None
        return record.manifest.detectors[short]

    def locate(self, name: str, asker: str | None = None) -> tuple[PluginRecord, str]:
        """The plugin that holds a recipe, and its short name.

        Args:
            name: short, or a full id.
            asker: the plugin whose manifest writes the name; None for the user.

        Raises:
            RecipeError: no such name, with the nearest ones and where it could come from; or an ambiguous one.
        """
        plugin, slash, short = name.rpartition("/")
        found = [
            record
            for record in self.plugins.usable()
            if record.manifest and short in record.manifest.detectors and (not slash or record.name == plugin)
        ]
        found = self._meant(found, lambda record: record.name, asker)
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

    def read_classes(self) -> None:
        """Add the components whose classes must tell kind and name: those that were never written down.

        An author has such until ``detzoo registry sync`` runs; others never. What cannot be read stands in
        ``failures``, for it has no name that a message could be about.

        Raises:
            PluginError: something cannot be read, and DETZOO_STRICT is 1.
        """
        for record in self.plugins.usable() if self._unread else ():
            if record.name in self._unread and record.manifest is not None:
                self._unread.remove(record.name)  # first: the plugin's import may ask for a name
                before = record.manifest.entries
                record.manifest, self.failures[record.name] = with_all_entries(record.manifest, self.plugins)
                for entry in record.manifest.entries:
                    if entry not in before:
                        self._entries.setdefault((entry.kind, entry.name), []).append(entry)

    def _may_be_unread(self, kind: str, short: str, plugin: str | None) -> bool:
        """Whether classes must tell what a name means: nobody pays for those of a plugin that it does not mean."""
        if not self._unread or plugin in self._unread:
            return bool(self._unread)
        return not any(one.plugin in (plugin or LOCAL, "core") for one in self._entries.get((kind, short), ()))

    def _run_register_hooks(self) -> None:
        if not self._registering:
            self._registering = True
            self.plugins.collect("detzoo_register", self._registering_for)
            self._registrant = LOCAL

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
        near = nearest(name, known)
        run = nearest_path(Path(name), is_folder) if "/" in name or not near else ""
        no_run = f"there is no run folder {name} either" if "/" in name or not near else ""
        no_run += f"; {run}" if run else ""
        file, colon, part = name.partition(".yaml:")
        own = f"a detector of a file is named by #: {file}.yaml#{part}" if colon else ""
        parts = [near, own, no_run, "`detzoo list` shows all; a file of your own ends in .yaml"]
        return f'unknown detector "{name}"; ' + self._joined(parts)

    def _joined(self, parts: list[str]) -> str:
        """The parts that say something, then the plugins that could have held the name and are not used."""
        failures = [describe_failure(record) for record in self.plugins.unusable()]
        failures += [told for unread in self.failures.values() for told in unread]
        return "; ".join(part for part in [*parts, *failures] if part).replace("?; ", "? ")


@cache
def get_registry() -> Registry:
    """The registry of this process, made on first use."""
    return Registry()


def list_detectors() -> list[str]:
    """Names of every detector that the installed plugins provide; imports no plugin and no torch."""
    return list(get_registry().detectors())


__all__ = ["LOCAL", "Registry", "get_registry", "list_detectors"]
