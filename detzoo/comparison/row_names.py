"""Short names of what is compared, for tables and folders."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from detzoo.comparison.recorded import PACKED, PARTS, run_around
from detzoo.runtime.environment import short_name
from detzoo.runtime.foreign_files import is_folder, is_ordinary


def unique_names(targets: Sequence[str]) -> list[str]:
    """The last part of a path, numbered where two are the same."""
    names: list[str] = []
    for target in targets:
        short = re.sub(r"[^\w.+-]", "_", short_name(without_file(target)).replace("#", "+"))
        names.append(numbered(short, names))
    return names


def numbered(short: str, taken: Collection[str]) -> str:
    """A name that is not taken: ``short``, else ``short-2`` and so on."""
    name, number = short, 2
    while name in taken:
        name, number = f"{short}-{number}", number + 1
    return name


def without_file(target: str) -> str:
    """Results go by the name of their folder or of the run around it, other detections by that of their file."""
    path = Path(target)
    if path.name in (*PARTS[:2], PACKED):
        path = path.parent
    elif path.name.endswith((".json", ".json.gz")):
        return str(path.with_name(path.name.removesuffix(".gz").removesuffix(".json")))
    if is_folder(path) and is_ordinary(path / "results.json") and (run := run_around(path)) is not None:
        return str(run)
    return target if path == Path(target) else str(path)
