"""What ``detzoo list`` shows: rows read from manifests alone."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from detzoo.errors import RecipeError
from detzoo.plugins.distributions import normalised
from detzoo.plugins.manager import USABLE, PluginRecord, describe_failure
from detzoo.plugins.registry import Registry, get_registry

WIDTH: Final = 100
"""Columns of a terminal that the list fits."""


def detector_rows(registry: Registry | None = None) -> list[dict[str, Any]]:
    """One row per detector: name, plugin, what it gives, profile, reported results, summary."""
    registry = registry or get_registry()
    rows = []
    for name, record in registry.detectors().items():
        value = record.manifest.detectors[name.rpartition("/")[2]] if record.manifest else {}
        rows.append(
            {
                "name": name,
                "plugin": record.name,
                "gives": "boxes+masks" if _inherited(registry, name, "mask") else "boxes",
                "profile": _inherited(registry, name, "profile") or "modern",
                "reported": [_short(result) for result in value.get("reported", [])],
                "weights": [entry["name"] for entry in value.get("weights", [])],
                "summary": value.get("summary", ""),
            }
        )
    return rows


def component_rows(kind: str, registry: Registry | None = None) -> list[dict[str, Any]]:
    """One row per component of a kind.

    Raises:
        RecipeError: there is no such kind.
    """
    registry = registry or get_registry()
    if kind not in registry.kinds:
        raise RecipeError(registry.plugins.unknown_kind(kind))
    entries = registry.entries(kind)
    return [{"name": e.name, "plugin": e.plugin, "summary": e.summary, "target": str(e.target)} for e in entries]


def matching(
    rows: list[dict[str, Any]], words: Sequence[str], registry: Registry | None = None
) -> list[dict[str, Any]]:
    """The rows that hold every word in their name, plugin or summary, in small letters or capitals.

    Raises:
        RecipeError: there is none, and no plugin is called so; with the plugins that could have had some and cannot be
            used.
    """
    registry = registry or get_registry()
    texts = [" ".join(str(row[key]) for key in ("name", "plugin", "summary")).casefold() for row in rows]
    found = [row for row, text in zip(rows, texts, strict=True) if all(word.casefold() in text for word in words)]
    if words and not found and not plugins_called(words, registry):
        failures = [describe_failure(one) for one in registry.plugins.unusable() if one.status != "disabled"]
        raise RecipeError(
            f"none of the {len(rows)} rows holds {' and '.join(map(repr, words))}; `detzoo list` shows all"
            f"{_components_called(words, registry)}{''.join(f'; {failure}' for failure in failures)}"
        )
    return found


def plugins_called(words: Sequence[str], registry: Registry | None = None) -> list[PluginRecord]:
    """The plugins whose name, or whose distribution's, is the only word; those that cannot be used too."""
    records = (registry or get_registry()).plugins.records.values()
    wanted = normalised(words[0]) if len(words) == 1 else None
    return [one for one in records if wanted in (normalised(one.name), normalised(one.distribution_name))]


def plugin_lines(record: PluginRecord, registry: Registry | None = None) -> list[str]:
    """What there is to say of one plugin but its detectors: why it is not used, or its components by kind."""
    registry = registry or get_registry()
    if record.status not in USABLE:
        return [describe_failure(record)]
    by_kind: dict[str, list[str]] = {}
    for entry in registry.entries():
        if entry.plugin == record.name:
            by_kind.setdefault(entry.kind, []).append(entry.name)
    lines = [f"{record.name} ({record.distribution}), components:" if by_kind else f"{record.name}: no components"]
    for kind, names in by_kind.items():
        lines += textwrap.wrap(f"{kind}: {', '.join(names)}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    return [*lines, *registry.failures.get(record.name, [])]


def _components_called(words: Sequence[str], registry: Registry) -> str:
    """Where components have such names; a few of them."""
    entries = [entry for entry in registry.entries() if all(word.casefold() in entry.name.casefold() for word in words)]
    named = ", ".join(f"{entry.kind} {entry.name}" for entry in entries[:3])
    return f"; `detzoo list --kind {entries[0].kind}` has {named}" if entries else ""


def not_installed(words: Sequence[str] = (), registry: Registry | None = None) -> dict[str, list[str]]:
    """Distribution -> detectors (whose name holds every word) that the zoo has and this environment does not."""
    registry = registry or get_registry()
    have = registry.plugins.records
    missing = {
        str(plugin["distribution"]): sorted(
            name for name in plugin.get("detectors", {}) if all(word.casefold() in name for word in words)
        )
        for plugin_name, plugin in registry.installable.items()
        if plugin_name not in have
    }
    return {distribution: names for distribution, names in missing.items() if names or not words}


def render(
    rows: list[dict[str, Any]], missing: dict[str, list[str]] | None, *, as_json: bool = False, wide: bool = False
) -> str:
    """Rows as JSON or as text.

    Args:
        rows: of detectors or of components.
        missing: detectors that could be installed, by distribution; None for components, whose JSON is a plain list.
        as_json: JSON instead of text.
        wide: every column, however long; else what fits ``WIDTH`` columns, detectors grouped by plugin.
    """
    if as_json:
        return json.dumps(rows if missing is None else {"installed": rows, "not_installed": missing}, indent=2)
    if not rows:
        lines = ["nothing is installed here"]
    elif wide:
        lines = _wide(rows)
    else:
        lines = _components(rows) if missing is None else _by_plugin(rows)
    for distribution, names in (missing or {}).items():
        listed = textwrap.wrap(", ".join(names), WIDTH, initial_indent="not installed: ", subsequent_indent="    ")
        lines += ["", *listed, f"    pip install {distribution}"]
    return "\n".join(lines)


def _inherited(registry: Registry, name: str, key: str) -> Any:
    """A top-level key of a recipe or of the parents it names, without resolving all of it."""
    asker = None
    for _ in range(20):
        try:
            record, short = registry.locate(name, asker)
        except RecipeError:
            return None
        value = record.manifest.detectors[short] if record.manifest else None
        if not isinstance(value, dict) or key in value or "extends" not in value:
            return value.get(key) if isinstance(value, dict) else None
        name, asker = value["extends"], record.name
    return None


def _short(result: Mapping[str, Any]) -> str:
    return f"{result['dataset']} {result['metric']} {result['value']:g}"


def _best(results: Sequence[str]) -> str:
    """The best reported AP; where only AP50 is reported, the best of those."""
    by_kind = [[one for one in results if f" {metric} " in one] for metric in ("AP", "AP50")]
    comparable = next((found for found in by_kind if found), list(results))
    return max(comparable, key=lambda one: float(one.rpartition(" ")[2]), default="")


def _by_plugin(rows: list[dict[str, Any]]) -> list[str]:
    """Detectors below a line per plugin: name, what it gives (``+masks``: boxes and masks), the best reported AP."""
    lines: list[str] = []
    for plugin in sorted({row["plugin"] for row in rows}):
        own = [row for row in rows if row["plugin"] == plugin]
        cells = [(row["name"], row["gives"].replace("boxes+", "+"), _best(row["reported"])) for row in own]
        lines += [*([""] if lines else []), plugin, *("  " + line for line in _aligned(cells))]
    return lines


def _components(rows: list[dict[str, Any]]) -> list[str]:
    """Name, plugin and as much of the summary as fits."""
    cells = [("name", "plugin", "summary"), *((row["name"], row["plugin"], row["summary"]) for row in rows)]
    return [line if len(line) <= WIDTH else line[: WIDTH - 3] + "..." for line in _aligned(cells)]


def _wide(rows: list[dict[str, Any]]) -> list[str]:
    columns = [c for c in rows[0] if c not in ("target", "weights")]
    text = [[", ".join(v) if isinstance(v, list) else str(v) for v in (row[c] for c in columns)] for row in rows]
    return _aligned([columns, *text])


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
