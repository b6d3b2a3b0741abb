"""What ``detzoo list`` shows: rows read from manifests alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from detzoo.errors import RecipeError
from detzoo.plugins.manifest import KINDS
from detzoo.plugins.registry import Registry, get_registry
from detzoo.schema.expressions import unknown


def detector_rows(registry: Registry | None = None) -> list[dict[str, Any]]:
    """One row a detector: name, plugin, what it gives, profile, reported results, summary."""
    registry = registry or get_registry()
    rows = []
    for name, record in registry.detectors().items():
        value = registry.written(name)
        rows.append(
            {
                "name": name,
                "plugin": record.name,
                "gives": "boxes+masks" if _inherited(registry, value, "mask") else "boxes",
                "profile": _inherited(registry, value, "profile") or "modern",
                "reported": [_short(result) for result in value.get("reported", [])],
                "weights": [entry["name"] for entry in value.get("weights", [])],
                "summary": value.get("summary", ""),
            }
        )
    return rows


def component_rows(kind: str, registry: Registry | None = None) -> list[dict[str, Any]]:
    """One row a component of a kind.

    Raises:
        RecipeError: there is no such kind.
    """
    if kind not in KINDS:
        raise RecipeError(unknown("kind", kind, KINDS))
    entries = (registry or get_registry()).entries(kind)
    return [{"name": e.name, "plugin": e.plugin, "summary": e.summary, "target": str(e.target)} for e in entries]


def matching(rows: list[dict[str, Any]], words: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that hold every word in their name, plugin or summary, in small letters or capitals.

    Raises:
        RecipeError: there is none.
    """
    texts = [" ".join(str(row[key]) for key in ("name", "plugin", "summary")).casefold() for row in rows]
    found = [row for row, text in zip(rows, texts, strict=True) if all(word.casefold() in text for word in words)]
    if words and not found:
        raise RecipeError(
            f"none of the {len(rows)} rows holds {' and '.join(map(repr, words))}; `detzoo list` shows all"
            f"{_components_called(words)}"
        )
    return found


def _components_called(words: Sequence[str], registry: Registry | None = None) -> str:
    """Where components have such names; a few of them."""
    entries = [
        entry
        for entry in (registry or get_registry()).entries()
        if all(word.casefold() in entry.name.casefold() for word in words)
    ]
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


def render(rows: list[dict[str, Any]], missing: dict[str, list[str]] | None, *, as_json: bool) -> str:
    """Rows as an aligned table or as JSON.

    Args:
        rows: of detectors or of components.
        missing: detectors that could be installed, by distribution; None for components, whose JSON is a plain list.
        as_json: JSON instead of a table.
    """
    if as_json:
        return json.dumps(rows if missing is None else {"installed": rows, "not_installed": missing}, indent=2)
    lines = _table(rows) if rows else ["nothing is installed here"]
    for distribution, names in (missing or {}).items():
        lines += ["", f"not installed: {', '.join(names)}", f"    pip install {distribution}"]
    return "\n".join(lines)


def _inherited(registry: Registry, value: Any, key: str) -> Any:
    """A top-level key of a recipe or of the parents it names, without resolving all of it."""
    for _ in range(20):
        if not isinstance(value, dict) or key in value or "extends" not in value:
            break
        try:
            value = registry.written(value["extends"])
        except RecipeError:
            return None
    return value.get(key) if isinstance(value, dict) else None


def _short(result: dict[str, Any]) -> str:
    return f"{result['dataset']} {result['metric']} {result['value']:g}"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = [c for c in rows[0] if c not in ("target", "weights")]
    text = [[", ".join(v) if isinstance(v, list) else str(v) for v in (row[c] for c in columns)] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *text]) for i in range(len(columns))]
    widths[-1] = 0
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in [columns, *text]
    ]
