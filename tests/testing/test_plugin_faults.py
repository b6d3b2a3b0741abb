"""Faulty imports and manifests: the conformance kit finds each by the check that is meant for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from detzoo.registry import Registry
from detzoo.testing import manifest as manifest_checks
from detzoo.testing.catalogue import PLUGIN_CHECKS


def failing_plugin(plugin: str) -> list[str]:
    """Names of the checks of a plugin as a whole that it fails."""
    found = []
    for spec in PLUGIN_CHECKS:
        name = spec.partition(":")[2]
        try:
            getattr(manifest_checks, f"check_{name}")(plugin)
        except Exception:
            found.append(name)
    return found


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


def test_faults_of_a_manifest(toy_registry: Registry) -> None:
    assert failing_plugin("toy") == []
    record = toy_registry.plugins.records["toy"]
    right = record.manifest
    assert right is not None
    old = right.generated.replace('"le": 8192', '"le": 4096')
    assert old != right.generated
    record.manifest = dataclasses.replace(right, generated=old)
    assert failing_plugin("toy") == ["schemas_are_synced"]
    record.manifest = dataclasses.replace(right, hooks=())
    assert failing_plugin("toy") == ["hooks_are_implemented"]
