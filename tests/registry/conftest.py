"""Plugins written to a temporary folder, with the ``.dist-info`` that an installation leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import TypeAlias

import pytest

MakePlugin: TypeAlias = Callable[..., list[EntryPoint]]

MANIFEST = "api: 1\nplugin: {name}\n"


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlugin]:
    """Write a plugin and return its entry points."""
    for variable in ("DETZOO_PLUGINS", "DETZOO_DISABLE", "DETZOO_STRICT"):
        monkeypatch.delenv(variable, raising=False)
    before = set(sys.modules)

    def make(
        name: str,
        manifest: str | None = MANIFEST,
        *,
        plugin: str = "",
        module: str = "",
        distribution: str = "",
    ) -> list[EntryPoint]:
        """Write one.

        Args:
            name: of the entry point; the package is called ``zoo_NAME``.
            manifest: text of its registry.yaml; None writes none.
            plugin: text of its plugin.py.
            module: text of its components.py.
            distribution: its name on an index; ``zoo-NAME`` when empty.
        """
        distribution = distribution or f"zoo-{name}"
        site = tmp_path / distribution
        package = site / f"zoo_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(plugin)
        (package / "components.py").write_text(module)
        if manifest is not None:
            (package / "registry.yaml").write_text(manifest.replace("{name}", name))
        info = site / f"{distribution.replace('-', '_')}-2.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n")
        (info / "entry_points.txt").write_text(f"[detzoo.plugins]\n{name} = zoo_{name}.plugin\n")
        monkeypatch.syspath_prepend(site)
        return [point for found in distributions(path=[str(site)]) for point in found.entry_points]

    yield make
    for loaded in set(sys.modules) - before:
        if loaded.startswith("zoo_"):
            del sys.modules[loaded]
