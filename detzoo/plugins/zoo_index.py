"""The zoo's index: what the zoo's plugins hold, those too that are not installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from detzoo.runtime.foreign_files import is_ordinary
from detzoo.schema.yaml_source import read


def zoo_index() -> Path | None:
    """The zoo's index of all first-party plugins: inside an installed wheel, or next to the package in a checkout."""
    package = Path(__file__).parents[1]
    for candidate in (package / "registry.yaml", package.parent / "registry.yaml"):
        if is_ordinary(candidate):
            return candidate
    return None


@cache
def zoo_plugins() -> dict[str, Any]:
    """The zoo's index: plugin -> its distribution, kinds, components and detectors; empty where it is missing."""
    path = zoo_index()
    found: dict[str, Any] = {} if path is None else read(path).value.get("plugins", {})
    return found


__all__ = ["zoo_index", "zoo_plugins"]
