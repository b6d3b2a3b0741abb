"""``detzoo diff`` of two runs or results: their settings, their curves side by side, their numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from detzoo.errors import DataError
from detzoo.recipes.text import difference, recipe_of
from detzoo.runtime.foreign_files import is_folder, is_ordinary, read_text
from detzoo.runtime.json_text import parse_object
from detzoo.runtime.text_table import Column, Table
from detzoo.training.log import CURVE, read_curve

RESULTS = "results.json"


def contrast(a: str, b: str) -> str:
    """How two things differ.

    Args:
        a: a recipe's name or file, a run folder, or a results.json.
        b: another.

    Returns:
        the settings that differ; then, where both have them, curves and metrics side by side.
    """
    parts = []
    if not (a.endswith(".json") and b.endswith(".json")):
        parts.append(difference(recipe_of(place(a)), recipe_of(place(b))))
    if is_folder(Path(a)) and is_folder(Path(b)):
        parts.append(curves(Path(a), Path(b)))
    found = [results_of(a), results_of(b)]
    if found[0] and found[1]:
        parts.append(metrics(found[0], found[1]))
    return "\n\n".join(part for part in parts if part)


def place(target: str) -> str:
    """The run folder around a results.json; other targets as they are."""
    return str(Path(target).parent) if target.endswith(".json") else target


def results_of(target: str) -> dict[str, Any]:
    """What results.json holds; empty where there is none.

    Raises:
        DataError: the file cannot be read, or is none of detzoo's.
    """
    path = Path(target) / RESULTS if is_folder(Path(target)) else Path(target)
    if path.suffix != ".json" or not (is_ordinary(path) or target.endswith(".json")):
        return {}
    place = f"{path}: not a results.json of detzoo; `detzoo eval` writes them"
    return parse_object(read_text(path), place, {"metrics": _are_numbers})


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(n is None or type(n) in (int, float) for n in value.values())


def curves(a: Path, b: Path) -> str:
    """Loss and AP of each epoch of either run; empty where one has no curve."""
    left, right = curve_of(a), curve_of(b)
    if not left or not right:
        return ""
    rows = []
    for epoch in dict.fromkeys([*left, *right]):
        row: dict[str, Any] = {"epoch": epoch}
        for side, found in (("a", left), ("b", right)):
            for name in ("loss", "AP"):
                row[f"{name}_{side}"] = found.get(epoch, {}).get(name)
        rows.append(row)
    columns = [Column("epoch", "epoch", None)]
    columns += [Column(f"loss_{side}", f"loss, {side}", 4) for side in "ab"]
    columns += [Column(f"AP_{side}", f"AP %, {side}", 2, 100.0) for side in "ab"]
    return Table(f"curves: a is {a}, b is {b}", columns, rows).terminal(None)


def curve_of(run: Path) -> dict[str, dict[str, float | None]]:
    """Loss and AP by epoch.

    Raises:
        DataError: the curve is none of detzoo's.
    """
    try:
        return {
            row["epoch"]: {name: float(row[name]) if row.get(name) else None for name in ("loss", "AP")}
            for row in read_curve(run)
        }
    except (ValueError, KeyError, TypeError, csv.Error):
        raise DataError(f"{run / CURVE}: not a curve of detzoo; move it away, or restore it") from None


def metrics(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Numbers of both, and b minus a; a note where they were not measured alike."""
    rows = []
    for name in dict.fromkeys([*a["metrics"], *b["metrics"]]):
        left, right = a["metrics"].get(name), b["metrics"].get(name)
        known = left is not None and right is not None
        rows.append({"metric": name, "a": left, "b": right, "change": right - left if known else None})
    columns = [Column("metric", "metric", None)]
    columns += [Column(key, title, 2, 100.0) for key, title in (("a", "a %"), ("b", "b %"), ("change", "b - a"))]
    unlike = [key for key in ("data", "protocol") if a.get(key) != b.get(key)]
    notes = [f"{key} differs, so the numbers cannot be compared as they stand" for key in unlike]
    return Table("metrics", columns, rows, notes).terminal(None)
