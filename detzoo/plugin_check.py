"""The state of every plugin, and a check that loads all they declare."""

from __future__ import annotations

from typing import Any

from detzoo.config import load_recipe
from detzoo.errors import DetzooError, PluginError
from detzoo.plugins.manager import describe_failure
from detzoo.registry import Registry, get_registry
from detzoo.schema import unknown


def rows(registry: Registry | None = None) -> list[dict[str, Any]]:
    """Name, status, distribution, message, trace and a count of what it holds, by plugin."""
    found = []
    for record in (registry or get_registry()).plugins.records.values():
        manifest = record.manifest
        holds = f"{len(manifest.entries)} components, {len(manifest.detectors)} detectors" if manifest else ""
        found.append(
            {
                "name": record.name,
                "status": record.status,
                "distribution": record.distribution,
                "holds": holds,
                "message": record.message,
                "trace": record.trace,
            }
        )
    return found


def check_all(registry: Registry | None = None) -> list[str]:
    """Activate every plugin, load every component, resolve every recipe; return what failed, one message each."""
    registry = registry or get_registry()
    problems = []
    for record in list(registry.plugins.records.values()):
        if record.status == "disabled":
            continue
        try:
            registry.plugins.activate(record.name)
        except PluginError:
            problems.append(describe_failure(record))
    for entry in registry.entries():
        try:
            if registry.schema(entry) != registry.derive(entry):
                problems.append(
                    f"{entry.kind} {entry.id}: its schema in the manifest is old; run `detzoo registry sync`"
                )
        except PluginError as error:
            problems.append(str(error))
    for name in registry.detectors():
        try:
            load_recipe(name, registry=registry)
        except DetzooError as error:
            problems.append(str(error))
    return problems


def known(names: list[str], registry: Registry | None = None) -> None:
    """Refuse names of plugins that are not installed.

    Raises:
        PluginError: with the nearest name and those there are.
    """
    records = (registry or get_registry()).plugins.records
    for name in names:
        if name not in records:
            raise PluginError(unknown("plugin", name, records))
