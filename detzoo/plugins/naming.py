"""The plugins that a user names on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from detzoo.errors import PluginError
from detzoo.plugins.registry import Registry, get_registry
from detzoo.schema.describing import unknown


def plugins_named(names: Sequence[str], registry: Registry | None = None) -> list[str]:
    """Names of plugins; a distribution stands for all of its plugins.

    Args:
        names: of plugins (``ssd``) or distributions (``detzoo-ssd``).
        registry: that of this process when None.

    Raises:
        PluginError: a name is neither; with the nearest and those there are.
    """
    records = (registry or get_registry()).plugins.records
    distributions: dict[str, list[str]] = {}
    for record in records.values():
        if record.distribution_name:
            distributions.setdefault(record.distribution_name, []).append(record.name)
    found: list[str] = []
    for name in names:
        if name not in records and name not in distributions:
            raise PluginError(unknown("plugin", name, {*records, *distributions}))
        whole = distributions.get(name, [])  # a plugin may be called as its distribution is, which may hold others too
        found += [name] if name in records and name not in whole else whole
    return list(dict.fromkeys(found))


__all__ = ["plugins_named"]
