"""Manifests hold the schemas of their classes, and the zoo's index what the manifests hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml

from detzoo.builder import build_component
from detzoo.errors import PluginError, RecipeError
from detzoo.plugins.manifest import SCHEMAS
from detzoo.plugins.registry import Registry
from detzoo.plugins.sync import sync
from detzoo.plugins.zoo_index import zoo_index
from detzoo.recipes.recipe import check_component
from detzoo.schema.nodes import DictOf, Field, Integer, Null, Number, Schema, Union
from detzoo.schema.yaml_source import read
from detzoo.testing.plugin_check import check_all

ROOT = Path(__file__).parents[2]
MakePlugin = Callable[..., list[EntryPoint]]

MANIFEST = """\
# a comment of the author's
api: 1
plugin: {name}
components:
  - {kind: neck, name: plain, target: "zoo_{name}.components:Plain", summary: "a neck: plain"}
detectors:
  small: {summary: "small", architecture: one_stage}
"""
MODULE = """
from detzoo.interfaces import Neck


class Plain(Neck):
    def __init__(self, *, width: int = 3, %s) -> None:
        super().__init__()

    def forward(self, features):
        return features
"""


def test_the_core_s_manifest_is_up_to_date() -> None:
    assert sync(index=None, write=False, registry=Registry([])) == [], "run `detzoo registry sync`"


def test_the_zoo_s_manifests_and_index_are_up_to_date() -> None:
    registry = Registry()
    index = zoo_index()
    assert index is not None
    installed = {name for name, record in registry.plugins.records.items() if record.manifest and name != "core"}
    if not {f.name.removeprefix("detzoo-").replace("-", "_") for f in (ROOT / "plugins").iterdir()} <= installed:
        pytest.skip("not every plugin of the zoo is installed")

    changed = sync(index=index, write=False, registry=registry)

    own = [path for path in changed if path.is_relative_to(ROOT)]  # not what others have installed
    assert own == [], "run `detzoo registry sync --index registry.yaml`"


def test_the_index_holds_the_plugins_of_its_checkout_alone(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "") + make_plugin("b", MANIFEST, module=MODULE % "")
    (tmp_path / "plugins" / "zoo-a").mkdir(parents=True)
    index = tmp_path / "index.yaml"
    registry = Registry(points)
    registry.plugins.records["core"].status = "disabled"

    sync(index=index, write=True, registry=registry)

    assert list(read(index).value["plugins"]) == ["a"]


def test_sync_writes_schemas_next_to_what_the_author_wrote(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "names: dict[str, float] | None = None")
    path = tmp_path / "zoo-a" / "zoo_a" / "registry.yaml"
    schemas, index = path.with_name(SCHEMAS), tmp_path / "index.yaml"

    assert set(sync(index=index, write=False, registry=Registry(points))) >= {schemas, index}
    assert not index.exists()
    changed = sync(index=index, write=True, registry=only(points, path))

    assert set(changed) == {schemas, index}
    assert path.read_text() == MANIFEST.replace("{name}", "a")
    assert schemas.read_text().splitlines()[1].startswith('  "neck/plain": {"supplies": [], "fields": {"width": ')
    assert sync(index=index, write=False, registry=only(points, path)) == []

    again = Registry(points)
    entry = again.find("neck", "plain")
    assert again.schema(entry) == again.derive(entry)
    assert again.abilities(entry) == (frozenset(), frozenset())
    names = Field(Union((DictOf(Number()), Null())), default=None)
    assert again.schema(entry) == Schema(fields={"width": Field(Integer(), default=3), "names": names})
    found = read(index).value["plugins"]["a"]
    assert found == {
        "distribution": "zoo-a",
        "components": {"neck/plain": "a neck: plain"},
        "detectors": {"small": "small"},
    }


def only(points: list[EntryPoint], path: Path) -> Registry:
    """A registry whose core is left as it is: only the plugin at ``path`` is synced."""
    registry = Registry(points)
    for record in registry.plugins.records.values():
        if record.manifest is not None and record.manifest.document.file != str(path):
            record.status = "disabled"
    return registry


def test_sync_refuses_a_signature_that_is_no_schema(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("a", MANIFEST, module=MODULE % "extra: object = None"))

    with pytest.raises(PluginError) as caught:
        sync(index=None, write=False, registry=registry)

    assert str(caught.value).startswith("zoo_a.components:Plain(extra): the annotation object cannot be configured")


def test_sync_says_where_a_folder_is_missing(make_plugin: MakePlugin, tmp_path: Path) -> None:
    index = tmp_path / "nowhere" / "index.yaml"

    with pytest.raises(PluginError) as caught:
        sync(index=index, write=True, registry=only(make_plugin("a"), tmp_path))

    assert str(caught.value) == f"{index}: the folder does not exist"


def test_the_class_has_the_last_word_where_the_manifest_is_old(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    schema = {"supplies": [], "fields": {"height": {"type": {"is": "int"}}}, "gives": [], "needs": []}
    points = make_plugin("a", MANIFEST, module=MODULE % "extra: int = 0")
    stored = tmp_path / "zoo-a" / "zoo_a" / SCHEMAS
    stored.write_text(json.dumps({"neck/plain": schema}))
    registry = Registry(points)
    monkeypatch.setattr(sys.modules[build_component.__module__], "get_registry", lambda: registry)

    with pytest.raises(RecipeError) as caught:
        build_component("neck", {"type": "plain", "height": 3})

    assert str(caught.value).splitlines()[0].endswith('unknown key "height" of neck "plain"; allowed: extra, width')
    assert str(caught.value).splitlines()[1] == (
        "the manifest of plugin a is out of date, its author should run `detzoo registry sync`"
    )
    assert "neck a/plain: its schema in the manifest is old; run `detzoo registry sync`" in check_all(registry)


@pytest.mark.parametrize("text", ["", "[]", '{"neck/plain": {"fields": {}}}', '{"neck/plain": 1}'])
def test_schemas_that_are_none_are_read_from_the_classes(make_plugin: MakePlugin, tmp_path: Path, text: str) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "extra: int = 0")
    (tmp_path / "zoo-a" / "zoo_a" / SCHEMAS).write_text(text)
    registry = Registry(points)
    assert list(registry.schema(registry.find("neck", "plain")).fields) == ["width", "extra"]


def test_a_manifest_that_a_yaml_library_wrote_again_stays_valid(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "")
    path = tmp_path / "zoo-a" / "zoo_a" / "registry.yaml"
    sync(index=None, write=True, registry=only(points, path))
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text())))
    registry = only(points, path)
    assert registry.plugins.records["a"].status == "not-loaded"
    assert list(registry.schema(registry.find("neck", "plain")).fields) == ["width"]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"is": "whole"}, 'neck/plain.fields.width.type: unknown type "whole"; allowed: any, bool, '),
        ("int", 'neck/plain.fields.width.type: found "int"; expected a mapping; '),
    ],
)
def test_a_schema_that_cannot_be_read_is_the_plugin_s_error(
    node: Any, message: str, make_plugin: MakePlugin, tmp_path: Path
) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "")
    path = tmp_path / "zoo-a" / "zoo_a" / SCHEMAS
    stored = {"supplies": [], "fields": {"width": {"type": node}}, "gives": [], "needs": []}
    path.write_text('{\n"neck/other": {},\n"neck/plain": ' + json.dumps(stored) + "\n}\n")
    registry = Registry(points)
    assert "small" in registry.detectors()  # listing asks for no schema

    with pytest.raises(PluginError) as caught:
        registry.schema(registry.find("neck", "plain"))

    assert str(caught.value).startswith(f"{path}:3: {message}")
    assert str(caught.value).endswith("`detzoo registry sync` writes it again")
    assert str(caught.value) in check_all(registry)
    found = check_component("neck", {"type": "plain"}, ("neck",), registry)
    assert [problem.message for problem in found] == [str(caught.value)]
