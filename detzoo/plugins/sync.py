"""Writing what is generated: ``schemas.json`` next to each manifest, and the zoo's index (``registry.yaml``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detzoo.errors import PluginError
from detzoo.feature import abilities_of, in_order
from detzoo.plugins.classes import read_class
from detzoo.plugins.entries import SCHEMAS, Entry, entry_of, key_of
from detzoo.plugins.listing import detector_rows
from detzoo.plugins.manager import USABLE, PluginRecord, describe_failure
from detzoo.plugins.manifest import check_entries, locate
from detzoo.plugins.naming import plugins_named
from detzoo.plugins.registry import Registry, get_registry
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.foreign_files import is_folder, is_there
from detzoo.schema.writing import write_schema
from detzoo.schema.yaml_source import write as write_yaml

_INDEX_HEADER = """\
# The zoo's index, made from the manifests in plugins/ by `detzoo registry sync --index registry.yaml`.
# It lets detzoo say which package provides a detector that is not installed.
"""


@dataclass(frozen=True)
class Synced:
    """What ``sync`` did.

    Args:
        plugins: names of those that were looked at.
        changed: files that differed.
        problems: why plugins could not be brought up to date; their files, and the index, are left as they were.
    """

    plugins: tuple[str, ...]
    changed: tuple[Path, ...]
    problems: tuple[str, ...]


def sync(
    names: Sequence[str] = (), *, index: Path | None = None, write: bool, registry: Registry | None = None
) -> Synced:
    """Bring ``schemas.json`` of one's own plugins, and the index if one is named, up to date.

    Args:
        names: of plugins or distributions; where there are none, all whose installation is editable. Others are
            somebody else's, and are left alone.
        index: file to write the index to, or None. It holds the plugins whose distributions are folders of
            ``plugins`` next to it; where there is no such folder, all that are installed.
        write: False only compares.
        registry: that of this process when None.

    Raises:
        PluginError: a name is unknown, no plugin is one's own, or the index has no folder to stand in.
    """
    registry = registry or get_registry()
    records = _chosen(names, registry)
    if index is not None and not is_folder(index.parent):
        raise PluginError(f"{index}: the folder does not exist")
    texts: dict[Path, str] = {}
    found: dict[str, list[Entry]] = {}
    problems: list[str] = []
    for record in records:
        try:
            entries = found[record.name] = _fresh(record, registry)
            if entries:
                assert record.manifest is not None
                texts[Path(record.manifest.document.file).with_name(SCHEMAS)] = _schemas(entries, registry)
        except PluginError as error:  # the others are brought up to date all the same
            problems.append(str(error))
    if index is not None and not problems:
        texts[index] = _index(registry, index, found)
    changed = [path for path, text in texts.items() if not is_there(path) or path.read_text(encoding="utf-8") != text]
    for path in changed if write else ():
        write_text(path, texts[path])
    return Synced(tuple(record.name for record in records), tuple(changed), tuple(problems))


def _chosen(names: Sequence[str], registry: Registry) -> list[PluginRecord]:
    records = registry.plugins.records
    if names:
        return [records[name] for name in plugins_named(names, registry)]
    own = [record for record in records.values() if record.editable and record.status != "disabled"]
    if not own:
        raise PluginError(
            "no plugin here is installed in editable mode (pip install -e): name the plugins or distributions to sync"
        )
    return own


def _fresh(record: PluginRecord, registry: Registry) -> list[Entry]:
    """The components of a plugin as their classes tell them now.

    Raises:
        PluginError: the plugin cannot be used, a class cannot be read, or two have one name.
    """
    if record.status not in USABLE or record.manifest is None:
        raise PluginError(describe_failure(record))
    manifest = record.manifest
    entries = [read_class(record.name, target, registry.plugins) for target in manifest.targets]
    problems = check_entries(manifest.document.value, entries)
    if problems:
        raise PluginError("\n".join(locate(problem, manifest.document) for problem in problems))
    return entries


def _schemas(entries: Sequence[Entry], registry: Registry) -> str:
    """One line per component, so that a changed signature is a changed line."""
    found = {str(entry.target): described(registry, entry) for entry in entries}
    lines = [f"  {json.dumps(target)}: {json.dumps(one)}" for target, one in sorted(found.items())]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def described(registry: Registry, entry: Entry) -> dict[str, Any]:
    """What is written down of a component; read from its class, which is loaded."""
    cls = registry.load(entry)
    own = entry_of(entry.plugin, cls, str(entry.target))
    gives, needs = abilities_of(cls)
    return (
        {"kind": own.kind, "name": own.name, "summary": own.summary}
        | write_schema(registry.derive(entry))
        | {"gives": in_order(gives), "needs": in_order(needs)}
    )


def _index(registry: Registry, index: Path, fresh: Mapping[str, Sequence[Entry]]) -> str:
    plugins: dict[str, Any] = {}
    rows = detector_rows(registry)
    for record in registry.plugins.usable():
        manifest = record.manifest
        if record.name == "core" or manifest is None or not _of_zoo(record, index):
            continue
        plugins[record.name] = {
            "distribution": record.distribution_name,
            **({"kinds": [kind.name for kind in manifest.kinds]} if manifest.kinds else {}),
            "components": {key_of(e.kind, e.name): e.summary for e in fresh.get(record.name, manifest.entries)},
            "detectors": {row["name"]: row["summary"] for row in rows if row["plugin"] == record.name},
        }
    return _INDEX_HEADER + write_yaml({"api": 1, "plugins": dict(sorted(plugins.items()))})


def _of_zoo(record: PluginRecord, index: Path) -> bool:
    """Whether a plugin is one of the checkout's own: third parties' (those of ``examples/`` too) are not indexed."""
    zoo = index.resolve().parent / "plugins"
    name = record.distribution_name
    return not is_folder(zoo) or (name != "" and is_folder(zoo / name))
