"""Ready values for files of well-known families (``presets.yaml``)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from detzoo.errors import RecipeError
from detzoo.schema.describing import unknown
from detzoo.schema.yaml_source import read


@cache
def presets() -> dict[str, dict[str, Any]]:
    """Values of ``ForeignOptions`` by the name of the family."""
    values: dict[str, dict[str, Any]] = read(Path(__file__).with_name("presets.yaml")).value
    return values


def preset(name: str, where: str) -> dict[str, Any]:
    """The values of a family.

    Args:
        name: of it.
        where: it is written, for messages.

    Raises:
        RecipeError: there is no such family.
    """
    if name not in presets():
        raise RecipeError(f"{where}: {unknown('preset', name, presets())}")
    return presets()[name]
