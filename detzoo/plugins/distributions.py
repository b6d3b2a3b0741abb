"""What the metadata of an installed distribution says: what it depends on, and whether it is the caller's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution


def normalised(distribution: str) -> str:
    """``Detzoo_SSD`` -> ``detzoo-ssd``: the name by which package indices compare."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def requirements(lines: Iterable[str]) -> Iterator[str]:
    """Normalised names of the distributions in ``Requires-Dist``; those of extras are no dependencies."""
    for line in lines:
        found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if found and not re.search(r";.*\bextra\s*==", line):
            yield normalised(found[0])


def is_editable(dist: Distribution) -> bool:
    """Whether a distribution was installed in editable mode, as pip and uv write it down (PEP 610)."""
    try:
        found = json.loads(dist.read_text("direct_url.json") or "{}")
        return bool(found["dir_info"]["editable"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def core_is_editable() -> bool:
    """Whether detzoo itself is worked on."""
    try:
        return is_editable(distribution("detzoo"))
    except PackageNotFoundError:  # a checkout that is not installed
        return True


__all__ = ["core_is_editable", "is_editable", "normalised", "requirements"]
