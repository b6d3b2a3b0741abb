"""Plugins written to a temporary folder, with the ``.dist-info`` that an installation leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import TypeAlias

import pytest

MakePlugin: TypeAlias = Callable[..., list[EntryPoint]]

MANIFEST = "api: 1\n"


def stored(**targets: str) -> str:
    """``schemas.json`` of components without keys: ``Plain="neck/plain"`` is a class in the plugin's components.py."""
    nothing = {"summary": "of a test", "supplies": [], "fields": {}, "gives": [], "needs": []}
    named = {name: dict(zip(("kind", "name"), key.split("/"), strict=True)) for name, key in targets.items()}
    return json.dumps({f"zoo_{{name}}.components:{name}": one | nothing for name, one in named.items()})


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
        stored: str = "",
        requires: str = "",
        editable: bool = False,
    ) -> list[EntryPoint]:
        """Write one.

        Args:
            name: of the entry point; the package is called ``zoo_NAME``.
            manifest: text of its registry.yaml; None writes none.
            plugin: text of its plugin.py.
            module: text of its components.py.
            distribution: its name on an index; ``zoo-NAME`` when empty.
            stored: text of its schemas.json; empty writes none.
            requires: a distribution that its own one depends on.
            editable: whether it was installed with ``pip install -e``.
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
        if stored:
            (package / "schemas.json").write_text(stored.replace("{name}", name))
        info = site / f"{distribution.replace('-', '_')}-2.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n"
        (info / "METADATA").write_text(metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        url = {"url": site.as_uri(), "dir_info": {"editable": editable}}
        (info / "direct_url.json").write_text(json.dumps(url))
        (info / "entry_points.txt").write_text(f"[detzoo.plugins]\n{name} = zoo_{name}.plugin\n")
        monkeypatch.syspath_prepend(site)
        return [point for found in distributions(path=[str(site)]) for point in found.entry_points]

    yield make
    for loaded in set(sys.modules) - before:
        if loaded.startswith("zoo_"):
            del sys.modules[loaded]
