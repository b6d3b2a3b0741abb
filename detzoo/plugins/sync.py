"""Writing what is generated: ``schemas.json`` next to each manifest, and the zoo's index (``registry.yaml``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from detzoo.errors import PluginError
from detzoo.feature import abilities_of, in_order
from detzoo.plugins.listing import detector_rows
from detzoo.plugins.manager import PluginRecord
from detzoo.plugins.manifest import SCHEMAS, Entry, Manifest, key_of
from detzoo.plugins.registry import Registry, get_registry
from detzoo.runtime.atomic_files import write_text
from detzoo.schema.writing import write_schema
from detzoo.schema.yaml_source import write as write_yaml

_INDEX_HEADER = """\
# The zoo's index, made from the manifests in plugins/ by `detzoo registry sync --index registry.yaml`.
# It lets detzoo say which package provides a detector that is not installed.
"""


def sync(*, index: Path | None, write: bool, registry: Registry | None = None) -> list[Path]:
    """Bring manifests, and the index if one is named, up to date.

    Args:
        index: file to write the index to, or None. It holds the plugins whose distributions are folders of
            ``plugins`` next to it; where there is no such folder, all that are installed.
        write: False only compares.
        registry: that of this process when None.

    Returns:
        the files that differed.

    Raises:
        PluginError: a component cannot be loaded, or its signature is not a schema.
    """
    registry = registry or get_registry()
    texts: dict[Path, str] = {}
    for record in registry.plugins.usable():
        if record.manifest is not None and record.manifest.entries:
            path = Path(record.manifest.document.file).with_name(SCHEMAS)
            texts[path] = _schemas(record.manifest, registry)
    if index is not None:
        texts[index] = _index(registry, index)
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if write:
        for path in changed:
            if not path.parent.is_dir():
                raise PluginError(f"{path}: the folder does not exist")
            write_text(path, texts[path])
    return changed


def _schemas(manifest: Manifest, registry: Registry) -> str:
    """One line per component, so that a changed signature is a changed line."""
    found = {key_of(e.kind, e.name): schema_and_abilities(registry, e) for e in manifest.entries}
    lines = [f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in sorted(found.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def schema_and_abilities(registry: Registry, entry: Entry) -> dict[str, Any]:
    """What is written down of a component; read from its class, which is loaded."""
    gives, needs = abilities_of(registry.load(entry))
    return write_schema(registry.derive(entry)) | {"gives": in_order(gives), "needs": in_order(needs)}


def _index(registry: Registry, index: Path) -> str:
    plugins: dict[str, Any] = {}
    rows = detector_rows(registry)
    for record in registry.plugins.usable():
        manifest = record.manifest
        if record.name == "core" or manifest is None or not _of_zoo(record, index):
            continue
        plugins[record.name] = {
            "distribution": _name_of(record),
            **({"kinds": [kind.name for kind in manifest.kinds]} if manifest.kinds else {}),
            "components": {key_of(e.kind, e.name): e.summary for e in manifest.entries},
            "detectors": {row["name"]: row["summary"] for row in rows if row["plugin"] == record.name},
        }
    return _INDEX_HEADER + write_yaml({"api": 1, "plugins": dict(sorted(plugins.items()))})


def _of_zoo(record: PluginRecord, index: Path) -> bool:
    """Whether a plugin is one of the checkout's own: third parties' (those of ``examples/`` too) are not indexed."""
    zoo = index.resolve().parent / "plugins"
    return not zoo.is_dir() or (zoo / _name_of(record)).is_dir()


def _name_of(record: PluginRecord) -> str:
    """``detzoo-ssd`` of ``detzoo-ssd 0.1.0``."""
    return record.distribution.rpartition(" ")[0]
