"""Checks of a plugin as a whole: its manifest, and what happens when it is imported."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DetzooError
from detzoo.plugins.manager import PluginRecord
from detzoo.plugins.manifest import Manifest, read_manifest
from detzoo.plugins.registry import get_registry
from detzoo.plugins.sync import described
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.testing.catalogue import checks_of

_HEAVY: Final = ("torch", "torchvision", "cv2", "timm", "accelerate", "pycocotools")
_PROBE: Final = """
import importlib, json, random, socket, sys
wanted = []
def refuse(self, address, *args):
    wanted.append(str(address))
    raise OSError("network access while importing")
def refuse_name(host, *args, **kwargs):
    refuse(None, host)
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.gethostbyname = refuse_name
state = random.getstate()
try:
    importlib.import_module(sys.argv[1])
except OSError:
    if not wanted:
        raise
heavy = [name for name in sys.argv[2].split(",") if name in sys.modules]
print(json.dumps({"heavy": heavy, "random": state != random.getstate(), "network": wanted}))
"""


def record_of(plugin: str) -> PluginRecord:
    """The plugin's record; an AssertionError names the plugins there are."""
    registry = get_registry()
    registry.read_classes()  # before `detzoo registry sync` the manifest alone does not tell what it holds
    records = registry.plugins.records
    assert plugin in records, f'no plugin "{plugin}" is installed; there are {", ".join(sorted(records))}'
    return records[plugin]


def manifest_of(plugin: str) -> Manifest:
    """The plugin's manifest, checked; an AssertionError says what is wrong with it."""
    record = record_of(plugin)
    assert record.manifest is not None, f"the manifest cannot be used: {record.message}"
    return record.manifest


def check_status(plugin: str) -> None:
    """The plugin is activated without an error and without a conflict."""
    record = record_of(plugin)
    assert record.status in {"ok", "not-loaded"}, f"the plugin is {record.status}: {record.message}"
    get_registry().plugins.activate(plugin)


def check_every_kind_has_its_interface(plugin: str) -> None:
    """Every kind that it brings is an abstract class whose ``kind`` is that name; its module of checks holds some."""
    for kind in manifest_of(plugin).kinds:
        module, _, name = kind.interface.partition(":")
        interface = getattr(importlib.import_module(module), name)
        assert isinstance(interface, type), f"{kind.interface} is not a class"
        assert inspect.isabstract(interface), f"{kind.interface} has no abstract method: nothing says what is called"
        declared = vars(interface).get("kind")
        assert declared == kind.name, f"the manifest calls {kind.interface} {kind.name}, its `kind` is {declared!r}"
        if kind.conformance is not None:
            assert checks_of(kind.name), f"{kind.conformance} has no function check_..."


def check_every_target_is_of_its_kind(plugin: str) -> None:
    """Every class that the manifest names can be imported, and implements the interface of its kind."""
    registry = get_registry()
    manifest = manifest_of(plugin)
    assert not registry.failures.get(plugin), "\n".join(registry.failures[plugin])
    for entry in manifest.entries:
        registry.load(entry)


def check_schemas_are_synced(plugin: str) -> None:
    """What is stored of the components is what their classes say: ``detzoo registry sync`` writes it."""
    stored = manifest_of(plugin).stored.by_target
    for entry in manifest_of(plugin).entries:
        if entry.target in stored:
            derived = json.loads(json.dumps(described(get_registry(), entry)))
            told = f"what is stored of {entry.target} is out of date: run `detzoo registry sync`"
            assert stored[str(entry.target)] == derived, told
    missing = [target for target in manifest_of(plugin).targets if target not in stored]
    in_progress = not stored and record_of(plugin).editable  # nothing has been written yet, and nothing built
    assert not missing or in_progress, f"nothing is stored of {', '.join(missing)}: run `detzoo registry sync`"


def check_every_recipe_resolves(plugin: str) -> None:
    """Every recipe of the manifest is complete and names components that are installed."""
    from detzoo.recipes.recipe import load_recipe

    for name in manifest_of(plugin).detectors:
        load_recipe(f"{plugin}/{name}" if plugin != "core" else name)


def check_hooks_are_implemented(plugin: str) -> None:
    """The manifest lists exactly the hooks that the module implements, so that others need not import it."""
    record = record_of(plugin)
    if not record.module or not record.distribution_name:
        return  # registered by hand
    module = importlib.import_module(record.module)
    found = {name for name, value in vars(module).items() if inspect.isfunction(value) and name.startswith("detzoo_")}
    listed = set(manifest_of(plugin).hooks)
    assert found == listed, f"the manifest lists the hooks {sorted(listed)}, the module implements {sorted(found)}"


def check_manifest_lies_in_the_package(plugin: str) -> None:
    """``registry.yaml`` is inside the package that the wheel installs, and reads the same from there."""
    record = record_of(plugin)
    if not record.module or not record.distribution_name:
        return  # registered by hand
    spec = importlib.util.find_spec(record.module.partition(".")[0])
    assert spec is not None, f"package {record.module} cannot be found"
    assert spec.submodule_search_locations, f"{record.module} is a module, not a package: the manifest has no place"
    path = Path(next(iter(spec.submodule_search_locations))) / "registry.yaml"
    assert is_ordinary(path), f"{path} is missing: put registry.yaml next to plugin.py and include it in the wheel"
    same = read_manifest(path, plugin).targets == manifest_of(plugin).targets
    assert same, f"{path} is not the manifest that was read"


def check_wheel_requires_what_recipes_use(plugin: str) -> None:
    """Whose recipes it extends, and whose components they name, it requires: ``dependencies`` in pyproject.toml."""
    record = record_of(plugin)
    if not record.module or not record.distribution_name:
        return  # registered by hand
    own = record.distribution_name
    try:
        wanted = [line for line in importlib.metadata.requires(own) or () if "extra ==" not in line]
    except importlib.metadata.PackageNotFoundError:
        return  # registered by hand, as in a test: no distribution that could require anything
    required = {_plain(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in wanted}
    lacking: dict[str, str] = {}
    try:
        used = list(_used(plugin))
    except DetzooError:
        return  # a recipe that does not resolve, or a plugin that cannot be used: other checks tell
    for name, other in used:
        theirs = record_of(other).distribution_name
        if _plain(theirs) not in required:
            lacking.setdefault(theirs, name)
    told = "; ".join(f"{theirs} (used by {name})" for theirs, name in lacking.items())
    assert not lacking, f"{own} does not require {told}: add it to dependencies in pyproject.toml, and install it again"


def _used(plugin: str) -> Iterator[tuple[str, str]]:
    """(recipe, other plugin) for each parent and each component of the plugin's recipes that is not its own."""
    from detzoo.recipes.places import places
    from detzoo.recipes.recipe import load_recipe

    registry = get_registry()
    for name, written in manifest_of(plugin).detectors.items():
        parent = written.get("extends")
        providers = [registry.locate(parent)[0].name] if parent else []
        values = load_recipe(f"{plugin}/{name}").values
        providers += [registry.find(place.kind, place.type).plugin for place in places(values, registry)]
        providers.append(registry.find("architecture", values["architecture"]).plugin)
        yield from ((name, other) for other in dict.fromkeys(providers) if other not in (plugin, "core"))


def _plain(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_import_is_light(plugin: str) -> None:
    """Importing the plugin's module loads no torch, torchvision, cv2, timm, accelerate or pycocotools."""
    module = record_of(plugin).module or "detzoo"
    heavy = _imported(module)["heavy"]
    assert not heavy, f"importing {module} loads {', '.join(heavy)}: import it inside the functions that need it"


def check_import_draws_no_random_number(plugin: str) -> None:
    """Importing the plugin's module leaves Python's random generator as it was."""
    module = record_of(plugin).module or "detzoo"
    assert not _imported(module)["random"], f"importing {module} uses random numbers or seeds their generator"


def check_import_opens_no_connection(plugin: str) -> None:
    """Importing the plugin's module asks no other machine for anything."""
    module = record_of(plugin).module or "detzoo"
    wanted = _imported(module)["network"]
    assert not wanted, f"importing {module} connects to {wanted[0]}: fetch things when they are used"


@lru_cache(maxsize=8)  # three checks look at one import
def _imported(module: str) -> dict[str, Any]:
    """What importing a module did, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module, ",".join(_HEAVY)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, f"importing {module} failed:\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
