"""Finding plugins without importing them, and activating one when it is first used.

pluggy's own ``load_setuptools_entrypoints`` imports every plugin, lets one bad plugin stop the program and skips
duplicate names in silence; here each plugin has a record with a status, and nothing depends on the order of discovery.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Literal

import pluggy

from detzoo.errors import DetzooError, PluginError
from detzoo.plugins import hooks as hookspecs
from detzoo.plugins.distributions import core_is_editable, is_editable, normalised, requirements
from detzoo.plugins.kinds import CORE_KINDS, OwnKind, unknown_kind
from detzoo.plugins.manifest import IncompatibleError, Manifest, core_manifest, locate, read_manifest
from detzoo.plugins.zoo_index import zoo_plugins
from detzoo.schema.checking import Problem

_log = logging.getLogger(__name__)
GROUP: Final = "detzoo.plugins"
Status = Literal["ok", "not-loaded", "disabled", "conflict", "incompatible", "invalid", "broken"]
USABLE: Final = ("ok", "not-loaded")


@dataclass
class PluginRecord:
    """What is known of one plugin.

    Args:
        name: of its entry point; ``core`` for detzoo itself.
        module: dotted path of the module with its hooks; empty for the core.
        distribution: ``detzoo-ssd 0.1.0``, for messages.
        status: ``ok`` once activated, ``not-loaded`` before; the others say why it is not used.
        message: why, in one sentence.
        manifest: where it could be read.
        requires: names of the distributions that its own one depends on, normalised.
        editable: whether it was installed from a folder that is worked on (``pip install -e``): the caller's own.
        trace: the saved traceback of a failed import.
    """

    name: str
    module: str
    distribution: str
    status: Status = "not-loaded"
    message: str = ""
    manifest: Manifest | None = None
    requires: frozenset[str] = frozenset()
    editable: bool = False
    trace: str = ""

    @property
    def distribution_name(self) -> str:
        """``detzoo-ssd`` of ``detzoo-ssd 0.1.0``; empty for a plugin that is registered by hand."""
        name, _, version = self.distribution.rpartition(" ")
        return name if version[:1].isdecimal() else ""


class PluginManager:
    """All plugins of this environment.

    Args:
        found: entry points to read; those of the environment when None. Tests hand in their own.
    """

    def __init__(self, found: Iterable[EntryPoint] | None = None) -> None:
        core = PluginRecord("core", "", _core_distribution(), status="ok")
        core.manifest = read_manifest(core_manifest(), "core")
        core.editable = core_is_editable()
        found = entry_points(group=GROUP) if found is None else found
        self.records: dict[str, PluginRecord] = {"core": core}
        for record in sorted((_discover(point) for point in found), key=lambda r: (r.name, r.distribution)):
            self._add(record)
        self.kinds: dict[str, OwnKind] = {}
        self._told: set[tuple[str, str]] = set()  # (plugin, hook) whose failure has been told
        while self._refuse_kinds():
            pass  # a plugin that is rejected takes its own kinds away from others

    @cached_property
    def _hooks(self) -> pluggy.PluginManager:
        """pluggy's own manager; listing never needs it."""
        hooks = pluggy.PluginManager(hookspecs.PROJECT)
        hooks.add_hookspecs(hookspecs.specifications())
        return hooks

    def usable(self) -> Iterator[PluginRecord]:
        """Records whose components and recipes may be used."""
        return (record for record in self.records.values() if record.status in USABLE)

    def unusable(self) -> list[PluginRecord]:
        """Records with a problem, for messages about names that were not found."""
        return [record for record in self.records.values() if record.status not in USABLE]

    def dependencies(self, name: str) -> list[str]:
        """Plugins of the distributions that a plugin's own one declares as dependencies; sorted."""
        wanted = self.records[name].requires if name in self.records else frozenset()
        return sorted(r.name for r in self.usable() if normalised(r.distribution_name) in wanted)

    def kind_names(self) -> tuple[str, ...]:
        """Every kind there is, sorted."""
        return tuple(sorted((*CORE_KINDS, *self.kinds)))

    def unknown_kind(self, name: str) -> str:
        """The sentence for a kind that is not registered: the nearest, or which distribution brings it."""
        why_not = {record.name: describe_failure(record) for record in self.unusable()}
        return unknown_kind(name, self.kind_names(), zoo_plugins(), why_not)

    def activate(self, name: str) -> PluginRecord:
        """Import a plugin's module and register its hooks; nothing happens the second time.

        Raises:
            PluginError: it cannot be used, with the reason.
        """
        record = self.records[name]
        if record.status == "not-loaded":
            self._import(record)
        if record.status != "ok":
            raise PluginError(describe_failure(record))
        return record

    def implementing(self, hook: str) -> list[PluginRecord]:
        """Activated plugins whose manifests list ``hook``; a plugin that fails to import is recorded and left out."""
        found = [r for r in self.usable() if r.manifest is not None and hook in r.manifest.hooks]
        for record in found:
            if record.status == "not-loaded":
                self._import(record)
        return [record for record in found if record.status == "ok"]

    def call(self, hook: str, first: Sequence[str] = (), /, **arguments: Any) -> list[Any]:
        """Call a hook plugin by plugin: what one raises stops neither the others nor the run.

        The plugin that raised is named in a warning, once for each hook. A hook of which the first result counts is not
        called again once a plugin has answered.

        Args:
            hook: its name.
            first: names of the plugins that are asked before the others.
            arguments: of the hook.

        Returns:
            results that are not None, in the order of the plugins' names.

        Raises:
            DetzooError: an implementation raised, and DETZOO_STRICT is 1; or it was asked for its result, and no other
                plugin has one.
        """
        results: list[Any] = []
        failures: list[tuple[PluginRecord, DetzooError]] = []
        counts = hook in hookspecs.FIRST_RESULT
        for record in sorted(self.implementing(hook), key=lambda one: one.name not in first):
            try:
                results += self.call_one(record, hook, **arguments)
            except DetzooError as error:
                failures.append((record, error))
                if _strict():
                    raise
            if results and counts:
                break
        if failures and counts and not results:
            own = [failure for _, failure in failures if not isinstance(failure, PluginError)]  # it knows what is wrong
            raise (own or [failures[0][1]])[0]
        for record, failure in failures:
            self._tell(record, hook, failure)
        return results

    def call_one(self, record: PluginRecord, hook: str, **arguments: Any) -> list[Any]:
        """Call one activated plugin's implementation of a hook; None is no result.

        Raises:
            DetzooError: it raised; a PluginError that names it where the error is not one of detzoo's own.
        """
        others = [p for name, p in self._hooks.list_name_plugin() if name != record.name and p is not None]
        try:
            result = self._hooks.subset_hook_caller(hook, others)(**arguments)
        except DetzooError:  # the plugin's own message to the user
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"plugin {record.name} ({record.distribution}): {hook} failed: {type(error).__name__}: {error}"
            ) from error
        return result if isinstance(result, list) else [result] if result is not None else []

    def collect(self, hook: str, arguments: Callable[[PluginRecord], dict[str, Any]]) -> None:
        """Call a hook that gathers things; a plugin that raises becomes ``broken``, and the others still give theirs.

        Args:
            hook: its name.
            arguments: makes what one plugin is handed.

        Raises:
            PluginError: one raised, and DETZOO_STRICT is 1.
        """
        for record in self.implementing(hook):
            try:
                self.call_one(record, hook, **arguments(record))
            except DetzooError as error:
                why = str(error).removeprefix(f"plugin {record.name} ({record.distribution}): ")
                why = why if why.startswith(hook) else f"{hook} failed: {why}"
                self._break(record, why, error)

    def _tell(self, record: PluginRecord, hook: str, error: DetzooError) -> None:
        """Warn of a hook that raised, the first time; the trace stays in the record for `detzoo plugins check`."""
        if (record.name, hook) in self._told:
            return
        self._told.add((record.name, hook))
        record.trace = "".join(traceback.format_exception(error))
        named = str(error) if isinstance(error, PluginError) else f"plugin {record.name}: {hook} failed: {error}"
        _log.warning(
            "%s; left out, the rest goes on (DETZOO_STRICT=1 stops here, DETZOO_DISABLE=%s leaves the plugin out)",
            named,
            record.name,
        )

    def _add(self, record: PluginRecord) -> None:
        other = self.records.get(record.name)
        if other is not None and record.status == other.status == "disabled":
            return
        if other is not None:
            both = f"{other.distribution} and {record.distribution}"
            for one in (other, record) if other.name != "core" else (record,):
                one.status = "conflict"
                one.message = f'{both} both provide a plugin named "{record.name}"; uninstall one'
            if other.name == "core":
                self.records[f"{record.name} ({record.distribution})"] = record
        else:
            self.records[record.name] = record
        if record.status in ("conflict", "invalid", "incompatible") and _strict():
            raise PluginError(describe_failure(record))

    def _refuse_kinds(self) -> bool:
        """Gather the kinds of usable plugins; plugins whose kinds clash or are unknown are no longer usable.

        Returns:
            whether a plugin was rejected.
        """
        usable = [(record, record.manifest) for record in self.usable() if record.manifest is not None]
        owners: dict[str, list[PluginRecord]] = {}
        for record, manifest in usable:
            for kind in manifest.kinds:
                owners.setdefault(kind.name, []).append(record)
        self.kinds = {kind.name: kind for _, manifest in usable for kind in manifest.kinds}
        refused = False
        for name, records in owners.items():
            owner = next((p for p, holds in zoo_plugins().items() if name in holds.get("kinds", ())), None)
            theirs = [record for record in records if record.name != owner]  # what the zoo's index names keeps its kind
            for record in theirs if len(records) > 1 else ():
                both = " and ".join(one.distribution for one in records)
                self._refuse(record, "conflict", f'{both} both bring the kind "{name}"; uninstall one')
                refused = True
        for record, manifest in usable if not refused else ():
            kinds = {entry.target: entry.kind for entry in manifest.entries}
            unknown = [
                locate(Problem(("components", i), f"{target}: {self.unknown_kind(kinds[target])}"), manifest.document)
                for i, target in enumerate(manifest.targets)
                if target in kinds and kinds[target] not in (*CORE_KINDS, *self.kinds)
            ]
            if unknown:
                self._refuse(record, "invalid", "\n".join(unknown))
                refused = True
        return refused

    def _refuse(self, record: PluginRecord, status: Status, message: str) -> None:
        record.status, record.message = status, message
        if _strict():
            raise PluginError(describe_failure(record))

    def _import(self, record: PluginRecord) -> None:
        try:
            module = importlib.import_module(record.module)
            self._hooks.register(module, record.name)
        except (Exception, SystemExit) as error:
            self._break(record, f"importing {record.module} failed: {type(error).__name__}: {error}", error)
        else:
            record.status = "ok"

    def _break(self, record: PluginRecord, message: str, error: BaseException) -> None:
        record.status, record.message = "broken", message
        record.trace = "".join(traceback.format_exception(error))
        if _strict():
            raise PluginError(describe_failure(record)) from error


def _strict() -> bool:
    """Whether a faulty plugin is an error instead of a warning."""
    return os.environ.get("DETZOO_STRICT") == "1"


def describe_failure(record: PluginRecord) -> str:
    """One sentence on why a plugin is not used, and what to do next."""
    return (
        f"plugin {record.name} ({record.distribution}) is {record.status}: {record.message}; "
        "see `detzoo plugins check` for details"
    )


def _discover(point: EntryPoint) -> PluginRecord:
    dist = point.dist
    record = PluginRecord(point.name, point.module, f"{dist.name} {dist.version}" if dist else "unknown distribution")
    if dist is not None:
        record.requires, record.editable = frozenset(requirements(dist.requires or ())), is_editable(dist)
    if point.name in _listed("DETZOO_DISABLE") or (
        "DETZOO_PLUGINS" in os.environ and point.name not in _listed("DETZOO_PLUGINS")
    ):
        record.status, record.message = "disabled", "switched off by DETZOO_DISABLE or DETZOO_PLUGINS"
        return record
    try:
        record.manifest = read_manifest(_manifest_path(point.module), point.name)
    except IncompatibleError as error:
        record.status, record.message = "incompatible", str(error)
        return record
    except PluginError as error:
        record.status, record.message = "invalid", str(error)
        return record
    except Exception as error:  # whatever its files make of themselves, the other plugins go on
        record.status, record.message = "invalid", f"its manifest cannot be read: {type(error).__name__}: {error}"
        return record
    _check(record)
    return record


def _check(record: PluginRecord) -> None:
    manifest = record.manifest
    assert manifest is not None
    unknown = sorted(set(manifest.hooks) - set(hookspecs.HOOKS))
    if unknown:
        record.status = "invalid"
        record.message = f"unknown hook {', '.join(unknown)}; known: {', '.join(hookspecs.HOOKS)}"


def _manifest_path(module: str) -> Path:
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)  # finds the top-level package without importing it
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(f"package {top} of its entry point cannot be found; reinstall it")
    return Path(next(iter(spec.submodule_search_locations))) / "registry.yaml"


def _listed(variable: str) -> list[str]:
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]


def _core_distribution() -> str:
    from detzoo.runtime.version import __version__

    return f"detzoo {__version__}"
