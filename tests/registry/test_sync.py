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
from detzoo.plugins.entries import SCHEMAS
from detzoo.plugins.registry import Registry
from detzoo.plugins.sync import Synced, sync
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
components:
  - zoo_{name}.components:Plain
detectors:
  small: {summary: "small", architecture: one_stage}
"""
MODULE = """
from detzoo.interfaces import Neck


class Plain(Neck):
    \"\"\"A neck: plain.

    More words.
    \"\"\"

    def __init__(self, *, width: int = 3, %s) -> None:
        super().__init__()

    def forward(self, features):
        return features
"""


TARGET = "zoo_a.components:Plain"
PLAIN: dict[str, Any] = {
    "kind": "neck", "name": "plain", "summary": "A neck", "supplies": [], "fields": {}, "gives": [], "needs": [],
}  # fmt: skip


def test_the_core_s_manifest_is_up_to_date() -> None:
    assert sync(["core"], write=False, registry=Registry([])).changed == (), "run `detzoo registry sync`"


def test_the_zoo_s_manifests_and_index_are_up_to_date() -> None:
    registry = Registry()
    index = zoo_index()
    assert index is not None
    installed = {name for name, record in registry.plugins.records.items() if record.manifest and name != "core"}
    if not {f.name.removeprefix("detzoo-").replace("-", "_") for f in (ROOT / "plugins").iterdir()} <= installed:
        pytest.skip("not every plugin of the zoo is installed")

    changed = sync(sorted(installed), index=index, write=False, registry=registry).changed

    own = [path for path in changed if path.is_relative_to(ROOT)]  # not what others have installed
    assert own == [], "run `detzoo registry sync --index registry.yaml`"


def test_the_index_holds_the_plugins_of_its_checkout_alone(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "") + make_plugin("b", MANIFEST, module=MODULE % "")
    (tmp_path / "plugins" / "zoo-a").mkdir(parents=True)
    index = tmp_path / "index.yaml"

    sync(["a", "b"], index=index, write=True, registry=Registry(points))

    assert list(read(index).value["plugins"]) == ["a"]


def test_sync_writes_schemas_next_to_what_the_author_wrote(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "names: dict[str, float] | None = None")
    path = tmp_path / "zoo-a" / "zoo_a" / "registry.yaml"
    schemas, index = path.with_name(SCHEMAS), tmp_path / "index.yaml"

    assert set(sync(["a"], index=index, write=False, registry=Registry(points)).changed) == {schemas, index}
    assert not index.exists()
    changed = sync(["zoo-a"], index=index, write=True, registry=Registry(points)).changed

    assert set(changed) == {schemas, index}
    assert path.read_text() == MANIFEST.replace("{name}", "a")
    assert (
        schemas.read_text()
        .splitlines()[1]
        .startswith(
            '  "zoo_a.components:Plain": {"kind": "neck", "name": "plain", "summary": "A neck: plain", "supplies": [], '
        )
    )
    assert sync(["a"], index=index, write=False, registry=Registry(points)).changed == ()

    again = Registry(points)
    entry = again.find("neck", "plain")
    assert again.schema(entry) == again.derive(entry)
    assert again.abilities(entry) == (frozenset(), frozenset())
    names = Field(Union((DictOf(Number()), Null())), default=None)
    assert again.schema(entry) == Schema(fields={"width": Field(Integer(), default=3), "names": names})
    found = read(index).value["plugins"]["a"]
    assert found == {
        "distribution": "zoo-a",
        "components": {"neck/plain": "A neck: plain"},
        "detectors": {"small": "small"},
    }


def test_sync_refuses_a_signature_that_is_no_schema(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("a", MANIFEST, module=MODULE % "extra: object = None"))

    done = sync(["a"], write=False, registry=registry)

    assert done.changed == ()
    assert done.problems[0].startswith("zoo_a.components:Plain(extra): the annotation object cannot be configured")


def test_sync_says_where_a_folder_is_missing(make_plugin: MakePlugin, tmp_path: Path) -> None:
    index = tmp_path / "nowhere" / "index.yaml"

    with pytest.raises(PluginError) as caught:
        sync(["a"], index=index, write=True, registry=Registry(make_plugin("a")))

    assert str(caught.value) == f"{index}: the folder does not exist"


def test_the_class_has_the_last_word_where_the_manifest_is_old(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    schema = PLAIN | {"fields": {"height": {"type": {"is": "int"}}}}
    points = make_plugin("a", MANIFEST, module=MODULE % "extra: int = 0")
    stored = tmp_path / "zoo-a" / "zoo_a" / SCHEMAS
    stored.write_text(json.dumps({TARGET: schema}))
    registry = Registry(points)
    monkeypatch.setattr(sys.modules[build_component.__module__], "get_registry", lambda: registry)

    with pytest.raises(RecipeError) as caught:
        build_component("neck", {"type": "plain", "height": 3})

    assert str(caught.value).splitlines()[0].endswith('unknown key "height" of neck "plain"; allowed: extra, width')
    assert str(caught.value).splitlines()[1] == (
        "the manifest of plugin a is out of date, its author should run `detzoo registry sync`"
    )
    assert "neck a/plain: its schema in the manifest is old; run `detzoo registry sync`" in check_all(registry)


@pytest.mark.parametrize("text", ["", "[]", '{"TARGET": {"fields": {}}}', '{"TARGET": 1}', "[" * 100_000])
def test_schemas_that_are_none_are_read_from_the_classes(make_plugin: MakePlugin, tmp_path: Path, text: str) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "extra: int = 0")
    (tmp_path / "zoo-a" / "zoo_a" / SCHEMAS).write_text(text.replace("TARGET", TARGET))
    registry = Registry(points)
    assert list(registry.schema(registry.find("neck", "plain")).fields) == ["width", "extra"]


def test_a_manifest_that_a_yaml_library_wrote_again_stays_valid(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = make_plugin("a", MANIFEST, module=MODULE % "")
    path = tmp_path / "zoo-a" / "zoo_a" / "registry.yaml"
    sync(["a"], write=True, registry=Registry(points))
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text())))
    registry = Registry(points)
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
    stored = PLAIN | {"fields": {"width": {"type": node}}}
    path.write_text('{\n"neck/other": {},\n"zoo_a.components:Plain": ' + json.dumps(stored) + "\n}\n")
    registry = Registry(points)
    assert "small" in registry.detectors()  # listing asks for no schema

    with pytest.raises(PluginError) as caught:
        registry.schema(registry.find("neck", "plain"))

    assert str(caught.value).startswith(f"{path}:3: {message}")
    assert str(caught.value).endswith("`detzoo registry sync` writes it again")
    assert str(caught.value) in check_all(registry)
    found = check_component("neck", {"type": "plain"}, ("neck",), registry)
    assert [problem.message for problem in found] == [str(caught.value)]


def test_what_is_not_one_s_own_is_left_alone(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = [
        *make_plugin("mine", MANIFEST, module=MODULE % "", editable=True),
        *make_plugin("theirs", MANIFEST, module=MODULE % ""),
        *make_plugin("crashing", MANIFEST, module="1 / 0", plugin="1 / 0"),
        *make_plugin("damaged", "components: {"),
    ]
    registry = Registry(points)
    registry.plugins.records["core"].editable = False

    done = sync(write=True, registry=registry)

    assert done == Synced(("mine",), (tmp_path / "zoo-mine" / "zoo_mine" / SCHEMAS,), ())
    assert not (tmp_path / "zoo-theirs" / "zoo_theirs" / SCHEMAS).exists()
    assert sync(["theirs"], write=True, registry=registry).plugins == ("theirs",)  # unless it is named
    assert (tmp_path / "zoo-theirs" / "zoo_theirs" / SCHEMAS).exists()


@pytest.mark.parametrize(
    ("manifest", "module", "told"),
    [
        ("api: 1\nhoks: []\n", "", 'unknown key "hoks"'),
        ("api: 99\n", "", "it was written for api 99"),
        ("api: 1\ncomponents: [zoo_mine.components:Gone]\n", "", "importing zoo_mine.components:Gone failed"),
        ("api: 1\ncomponents: [zoo_mine.components:Gone]\n", "1 / 0", "ZeroDivisionError"),
        ("api: 1\ncomponents: [zoo_mine.components:Gone]\n", "Gone = 3", "zoo_mine.components:Gone is not a class"),
        ("api: 1\ncomponents: [zoo_mine.components:Gone]\n", "class Gone: pass", "it has no `kind`"),
        ("api: 1\ncomponents: [zoo_mine.components:Gone]\n", "class Gone: kind = 'nekc'", 'unknown kind "nekc"'),
        (
            "api: 1\ncomponents: [zoo_mine.components:A, zoo_mine.components:B]\n",
            (MODULE % "").replace("class Plain", "class A") + "\n\nclass B(A):\n    name = 'a'\n",
            ':2: components[1]: neck "a" is zoo_mine.components:A already',
        ),
    ],
)
def test_what_is_wrong_with_one_s_own_is_told_and_the_others_are_written(
    make_plugin: MakePlugin, tmp_path: Path, manifest: str, module: str, told: str
) -> None:
    good = make_plugin("good", MANIFEST, module=MODULE % "", editable=True)
    registry = Registry([*make_plugin("mine", manifest, module=module, editable=True), *good])
    registry.plugins.records["core"].editable = False

    done = sync(index=tmp_path / "index.yaml", write=True, registry=registry)

    assert done.changed == (tmp_path / "zoo-good" / "zoo_good" / SCHEMAS,)  # no index of a part of the plugins
    (problem,) = done.problems
    assert told in problem


def test_nothing_of_one_s_own_is_no_success(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("theirs", MANIFEST, module=MODULE % ""))
    registry.plugins.records["core"].editable = False

    with pytest.raises(PluginError, match="name the plugins or distributions to sync"):
        sync(write=True, registry=registry)


def test_before_the_first_sync_the_classes_tell_kind_and_name(make_plugin: MakePlugin) -> None:
    module = MODULE % "" + "\n\nclass BoxFilter2D(Plain):\n    pass\n\n\nclass Other(Plain):\n    name = 'mine'\n"
    targets = "zoo_{name}.components:BoxFilter2D, zoo_{name}.components:Other"
    points = make_plugin("a", f"api: 1\ncomponents: [zoo_{{name}}.components:Plain, {targets}]\n", module=module)
    registry = Registry([*points, *make_plugin("crashing", MANIFEST, module="1 / 0")])

    assert registry.find("neck", "identity").id == "core/identity"
    assert "zoo_a.components" not in sys.modules  # what the core has needs no class of a plugin
    assert [registry.find("neck", name).id for name in ("plain", "box_filter2d", "mine")] == [
        "a/plain", "a/box_filter2d", "a/mine",
    ]  # fmt: skip
    with pytest.raises(RecipeError, match=r"importing zoo_crashing\.components:Plain failed: ZeroDivisionError"):
        registry.find("neck", "unheard_of")
