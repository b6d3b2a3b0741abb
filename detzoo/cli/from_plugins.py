"""Commands added by plugins; only plugins whose manifest lists ``detzoo_cli`` are imported."""

from __future__ import annotations

import sys
from collections.abc import Collection
from functools import cache
from typing import Any

import typer

from detzoo.plugins.manager import PluginRecord, describe_failure
from detzoo.plugins.registry import get_registry


@cache
def commands(taken: Collection[str]) -> dict[str, Any]:
    """Name -> command, sorted. A name that is already taken, or that two plugins claim, is reported and not used."""
    apps: dict[str, typer.Typer] = {}

    def arguments(record: PluginRecord) -> dict[str, Any]:
        apps[record.name] = typer.Typer(add_completion=False, rich_markup_mode=None)
        return {"commands": apps[record.name]}

    plugins = get_registry().plugins
    plugins.collect("detzoo_cli", arguments)
    wanted: dict[str, list[tuple[str, Any]]] = {}
    for plugin, app in apps.items():
        record = plugins.records[plugin]
        if record.status != "ok":
            print(f"warning: {describe_failure(record)}", file=sys.stderr)
            continue
        app.callback()(lambda: None)  # keeps a single command a subcommand
        for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
            wanted.setdefault(name, []).append((plugin, command))
    found = {}
    for name, offers in sorted(wanted.items()):
        owners = [plugin for plugin, _ in offers]
        if name in taken:
            print(f'warning: plugin {owners[0]}: command "{name}" is detzoo\'s own; left out', file=sys.stderr)
        elif len(owners) > 1:
            print(f'warning: plugins {" and ".join(owners)} both add a command "{name}"; left out', file=sys.stderr)
        else:
            found[name] = offers[0][1]
    return found
