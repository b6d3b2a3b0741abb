"""Importing the classes that manifests name."""

from __future__ import annotations

import dataclasses
import importlib
import os
import traceback
from typing import Any

from detzoo.errors import PluginError
from detzoo.plugins.entries import Entry, entry_of
from detzoo.plugins.manager import PluginManager
from detzoo.plugins.manifest import Manifest, check_entries, locate


def import_class(target: str, what: str) -> type[Any]:
    """The class behind ``package.module:Class``.

    Args:
        target: where it is.
        what: it is, for messages.

    Raises:
        PluginError: it cannot be imported, or is no class.
    """
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        if os.environ.get("DETZOO_STRICT") == "1":
            raise
        trace = "".join(traceback.format_exception_only(error)).strip()
        raise PluginError(f"{what}: importing {target} failed: {trace}") from error
    if not isinstance(found, type):
        raise PluginError(f"{what}: {target} is not a class")
    return found


def check_class(entry: Entry, cls: type[Any]) -> None:
    """Reject a class that is not of its kind, or leaves a method of its interface out.

    Raises:
        PluginError: why.
    """
    declared = getattr(cls, "kind", None)
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if declared != entry.kind or missing:
        why = f"it does not implement {', '.join(missing)}" if missing else f"its `kind` is {declared!r}"
        raise PluginError(f'{entry.kind} "{entry.id}" ({place_of(cls)}) is not a {entry.kind}: {why}')


def with_all_entries(manifest: Manifest, plugins: PluginManager) -> tuple[Manifest, list[str]]:
    """A manifest with an entry for each target, and why some cannot be read; imports what is not written down.

    Raises:
        PluginError: a class cannot be read, and DETZOO_STRICT is 1.
    """
    entries, failures = [], []
    for target in manifest.targets:
        try:
            entries.append(
                manifest.stored.entry(manifest.plugin, target) or read_class(manifest.plugin, target, plugins)
            )
        except PluginError as error:
            if os.environ.get("DETZOO_STRICT") == "1":
                raise
            failures.append(str(error))
    if not failures:
        failures = [locate(one, manifest.document) for one in check_entries(manifest.document.value, entries)]
    return dataclasses.replace(manifest, entries=tuple(entries)), failures


def read_class(plugin: str, target: str, plugins: PluginManager) -> Entry:
    """A component as its class tells it.

    Raises:
        PluginError: it cannot be imported, or is no component of a kind that there is.
    """
    what = f"component of plugin {plugin}"
    entry = entry_of(plugin, import_class(target, what), target)
    if entry.kind not in plugins.kind_names():
        raise PluginError(f"{what}: {target}: {plugins.unknown_kind(entry.kind)}")
    return entry


def place_of(cls: type[Any]) -> str:
    """``package.module:Class``."""
    return f"{cls.__module__}:{cls.__qualname__}"


__all__ = ["check_class", "import_class", "place_of", "read_class", "with_all_entries"]
