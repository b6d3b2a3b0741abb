"""The state of every plugin, a check that loads all they declare, and the conformance kit on those that are named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detzoo.errors import DetzooError, PluginError
from detzoo.plugins.manager import describe_failure
from detzoo.plugins.registry import Registry, get_registry
from detzoo.recipes.recipe import load_recipe

if TYPE_CHECKING:
    from detzoo.plugins.manifest import Manifest
    from detzoo.testing import CheckResult


def rows(registry: Registry | None = None) -> list[dict[str, Any]]:
    """Name, status, distribution, message, trace and a count of what it holds, by plugin."""
    found = []
    for record in (registry or get_registry()).plugins.records.values():
        manifest = record.manifest
        holds = _holds(manifest) if manifest else ""
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


def _holds(manifest: Manifest) -> str:
    """``3 kinds, 9 components, 6 detectors``; kinds are what few plugins bring."""
    kinds = f"{len(manifest.kinds)} kinds, " if manifest.kinds else ""
    return f"{kinds}{len(manifest.targets)} components, {len(manifest.detectors)} detectors"


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
    problems += [told for unread in registry.failures.values() for told in unread]
    for name in registry.detectors():
        try:
            load_recipe(name, registry=registry)
        except DetzooError as error:
            problems.append(str(error))
    return problems


def conformance(plugin: str, *, all_recipes: bool = False) -> list[CheckResult]:
    """What the conformance kit finds.

    Args:
        plugin: its name.
        all_recipes: build and run those recipes too that the manifest leaves out.
    """
    from detzoo.testing import check_plugin

    manifest = get_registry().plugins.records[plugin].manifest
    recipes = tuple(manifest.detectors) if all_recipes and manifest is not None else None
    return check_plugin(plugin, on_fail="return", recipes=recipes)


def recipes_not_run(plugin: str) -> int:
    """How many recipes ``conformance`` leaves out; 0 for a plugin whose manifest cannot be used."""
    from detzoo.testing import recipes_left_out

    return 0 if get_registry().plugins.records[plugin].manifest is None else len(recipes_left_out(plugin))


def tally(results: Sequence[CheckResult]) -> str:
    """``63 of 70 checks passed, 4 failed as expected, 3 skipped: the package timm is not installed``."""
    count = Counter(result.status for result in results)
    parts = [f"{count['passed']} of {len(results)} checks passed"]
    if count["expected_failure"]:
        parts.append(f"{count['expected_failure']} failed as expected")
    if count["skipped"]:
        reasons = sorted({result.message for result in results if result.status == "skipped"})
        parts.append(f"{count['skipped']} skipped: {' and '.join(reasons)}")
    return ", ".join(parts)
