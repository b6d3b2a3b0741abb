"""Whether a foreign detector is still the same: the content of its files."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from detzoo.foreign.target import ForeignTarget
from detzoo.runtime.foreign_files import is_folder, is_ordinary


def fingerprints(target: ForeignTarget) -> list[str]:
    """Digests of the files of a target; empty for what lies in a library.

    Args:
        target: any.
    """
    path = target.file
    if target.kind == "module":
        path = _file_of(target.place)
    if path is None:
        return []
    if is_folder(path):
        files = [one for one in sorted(path.iterdir()) if is_ordinary(one)]
        return [f"{one.name} {one.stat().st_size} {one.stat().st_mtime_ns}" for one in files]
    beside = [path.with_suffix(".bin")] if target.kind == "openvino" else []
    return [_digest(one) for one in (path, *beside) if is_ordinary(one)]


def _file_of(module: str) -> Path | None:
    """The file of a module; nothing of it is run, but the packages around it are imported to find it."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not is_ordinary(spec.origin):
        return None
    whole = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    inner = [whole.with_suffix(".py"), whole / "__init__.py"]
    return next((one for one in inner if is_ordinary(one)), Path(spec.origin))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
