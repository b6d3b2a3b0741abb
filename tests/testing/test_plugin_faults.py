"""Faulty imports and manifests: the conformance kit finds each by the check that is meant for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from detzoo.plugins.entries import SCHEMAS, StoredComponents
from detzoo.plugins.manifest import Manifest, read_manifest
from detzoo.plugins.registry import Registry
from detzoo.testing import manifest as manifest_checks
from detzoo.testing.catalogue import PLUGIN_CHECKS


def failing_plugin(plugin: str) -> dict[str, str]:
    """First lines of what the checks of a plugin as a whole that it fails say."""
    found = {}
    for spec in PLUGIN_CHECKS:
        name = spec.partition(":")[2]
        try:
            getattr(manifest_checks, f"check_{name}")(plugin)
        except Exception as error:
            found[name] = str(error).splitlines()[0]
    return found


TOY_ZOO = Path(__file__).parents[1] / "toy_zoo"
IMPORTS = {
    "import pycocotools.mask": "import_is_light",
    "import random; random.random()": "import_draws_no_random_number",
    "import random; random.seed(0)": "import_draws_no_random_number",
    "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)": "import_opens_no_connection",
    "import urllib.request; urllib.request.urlopen('http://example.org', timeout=1)": "import_opens_no_connection",
    # a plugin that hides the failure has still asked
    "import socket\ntry: socket.create_connection(('192.0.2.1', 9))\nexcept OSError: 0": "import_opens_no_connection",
}


@pytest.mark.parametrize("code", IMPORTS)
def test_faults_of_an_import(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_registry: Registry
) -> None:
    (tmp_path / "faulty_plugin.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    record = toy_registry.plugins.records["toy"]
    assert [name for name in failing_plugin("toy") if name.startswith("import_")] == []
    record.module = "faulty_plugin"
    manifest_checks._imported.cache_clear()
    found = [name for name in failing_plugin("toy") if name.startswith("import_")]
    manifest_checks._imported.cache_clear()
    assert found == [IMPORTS[code]]


def with_stored(manifest: Manifest, stored: dict[str, Any]) -> Manifest:
    """The manifest with something else next to it."""
    changed = StoredComponents(manifest.stored.path)
    changed.__dict__["by_target"] = stored
    return dataclasses.replace(manifest, stored=changed)


def test_faults_of_a_manifest(toy_registry: Registry) -> None:
    assert failing_plugin("toy") == {}
    record = toy_registry.plugins.records["toy"]
    right = record.manifest
    assert right is not None
    changes: dict[str, dict[str, Any]] = {
        "toy_zoo.components:ToyAnchors": {"supplies": []},
        "toy_zoo.components:ToyNoise": {"gives": ["levels"]},
        "toy_zoo.components:ToyHead": {"name": "toy_hat"},
        "toy_zoo.components:ToyBackbone": {"summary": "a backbone of toys"},
    }
    for name, changed in changes.items():
        stored = right.stored.by_target
        record.manifest = with_stored(right, stored | {name: stored[name] | changed})
        assert failing_plugin("toy") == {
            "schemas_are_synced": f"what is stored of {name} is out of date: run `detzoo registry sync`"
        }
    without = {name: one for name, one in right.stored.by_target.items() if not name.endswith("ToyNoise")}
    record.manifest = with_stored(right, without)
    told = "nothing is stored of toy_zoo.components:ToyNoise: run `detzoo registry sync`"
    assert failing_plugin("toy") == {"schemas_are_synced": told}
    record.manifest = with_stored(right, {})
    assert list(failing_plugin("toy")) == ["schemas_are_synced"]  # it was built without
    record.editable = True  # nothing has been built yet
    assert failing_plugin("toy") == {}
    record.manifest = dataclasses.replace(right, hooks=())
    assert failing_plugin("toy") == {
        "hooks_are_implemented": "the manifest lists the hooks [], the module implements ['detzoo_cli']"
    }


def test_a_target_of_another_kind(toy_registry: Registry) -> None:
    record = toy_registry.plugins.records["toy"]
    assert record.manifest is not None
    wrong = tuple(
        dataclasses.replace(entry, kind="miner") if entry.name == "toy_noise" else entry
        for entry in record.manifest.entries
    )
    record.manifest = dataclasses.replace(record.manifest, entries=wrong)
    message = "miner \"toy/toy_noise\" (toy_zoo.components:ToyNoise) is not a miner: its `kind` is 'transform'"
    # whoever loads the class to compare its schema meets the same
    assert failing_plugin("toy") == {"every_target_is_of_its_kind": message, "schemas_are_synced": message}


def test_a_recipe_that_does_not_resolve(tmp_path: Path, toy_registry: Registry) -> None:
    record = toy_registry.plugins.records["toy"]
    text = (TOY_ZOO / "toy_zoo" / "registry.yaml").read_text()
    path = tmp_path / "registry.yaml"
    path.with_name(SCHEMAS).write_text((TOY_ZOO / "toy_zoo" / SCHEMAS).read_text())
    path.write_text(text.replace("    num_classes: 3\n", "    num_classes: 3\n    neck: {type: identty}\n"))
    record.manifest = read_manifest(path, "toy")
    assert failing_plugin("toy") == {
        "every_recipe_resolves": f'{path}:50: detectors.toy_child.neck.type: unknown neck "identty"; did you mean '
        '"identity"? installed: csp_pafpn, fpn, identity, unet'
    }


def test_a_plugin_in_conflict(toy_registry: Registry) -> None:
    record = toy_registry.plugins.records["toy"]
    record.status, record.message = "conflict", "two distributions provide it"
    found = failing_plugin("toy")
    assert found["status"] == "the plugin is conflict: two distributions provide it"
    # nothing of it is used, so whatever must be loaded is missed too
    assert set(found) - {"status"} == {"every_target_is_of_its_kind", "schemas_are_synced", "every_recipe_resolves"}


def test_a_manifest_that_is_not_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_registry: Registry
) -> None:
    package = tmp_path / "without_manifest"
    package.mkdir()
    (package / "__init__.py").write_text("")
    record = toy_registry.plugins.records["toy"]
    (package / "plugin.py").write_text((TOY_ZOO / "toy_zoo" / "plugin.py").read_text())
    monkeypatch.syspath_prepend(tmp_path)
    record.module = "without_manifest.plugin"
    missing = package / "registry.yaml"
    assert failing_plugin("toy") == {
        "manifest_lies_in_the_package": f"{missing} is missing: put registry.yaml next to plugin.py and include it in "
        "the wheel"
    }
    missing.write_text("api: 1\n")
    assert failing_plugin("toy") == {"manifest_lies_in_the_package": f"{missing} is not the manifest that was read"}


def test_every_check_of_a_plugin_has_a_fault() -> None:
    of_the_manifest = {
        "status",
        "every_target_is_of_its_kind",
        "schemas_are_synced",
        "every_recipe_resolves",
        "hooks_are_implemented",
        "manifest_lies_in_the_package",
        "every_kind_has_its_interface",  # its faults: tests/testing/test_own_kinds.py
        "wheel_requires_what_recipes_use",  # tests/testing/test_new_checks.py
    }
    assert {spec.partition(":")[2] for spec in PLUGIN_CHECKS} == of_the_manifest | set(IMPORTS.values())
