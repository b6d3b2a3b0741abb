"""Names of components and detectors, loading classes, and registering by hand."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import PluginError, RecipeError
from detzoo.interfaces import Neck, Sampler
from detzoo.plugins.kinds import CORE_KINDS
from detzoo.plugins.manifest import read_manifest
from detzoo.plugins.registry import Registry
from detzoo.schema.nodes import Schema
from detzoo.types import Assignment, FeatureMaps
from tests.registry.conftest import stored

MakePlugin = Callable[..., list[EntryPoint]]

MANIFEST = """\
api: 1
components:
  - zoo_{name}.components:Plain
  - zoo_{name}.components:Unfinished
  - zoo_{name}.components:Disguised
  - zoo_{name}.components:NUMBER
  - zoo_{name}.components:Gone
  - zoo_{name}.crashing:Plain
detectors:
  mine: {extends: theirs}
  theirs: {extends: mine, summary: s}
"""
STORED = stored(
    Plain="neck/plain", Unfinished="neck/unfinished", Disguised="head/disguised", NUMBER="neck/number",
    Gone="neck/gone", Nowhere="neck/crashing",
).replace("components:Nowhere", "crashing:Plain")  # fmt: skip
MODULE = """
from detzoo.interfaces import Neck


class Plain(Neck):
    def forward(self, features):
        return features


class Disguised(Plain):
    pass


class Unfinished(Neck):
    pass


NUMBER = 3
"""


class Doubling(Sampler):
    """A class of this test.

    More words.
    """

    size = None

    def forward(self, assignment: Assignment) -> Assignment:
        return assignment


class Passing(Neck):
    """Another."""

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        return features


def test_a_short_name_works_while_it_is_unique(make_plugin: MakePlugin) -> None:
    registry = Registry([*make_plugin("a", MANIFEST, stored=STORED), *make_plugin("b", MANIFEST, stored=STORED)])

    assert registry.find("neck", "a/plain").plugin == "a"
    assert registry.find("neck", "identity").id == "core/identity"
    assert registry.find("neck", "core/identity").id == "core/identity"
    with pytest.raises(RecipeError) as caught:
        registry.find("neck", "plain")
    assert str(caught.value) == 'neck "plain" is ambiguous; write a/plain or b/plain'
    with pytest.raises(RecipeError) as caught:
        registry.locate("mine")
    assert str(caught.value) == 'detector "mine" is ambiguous; write a/mine or b/mine'
    assert list(registry.detectors()) == ["a/mine", "a/theirs", "b/mine", "b/theirs"]
    assert registry.written("b/theirs") == {"extends": "mine", "summary": "s"}


def test_a_cycle_inside_a_manifest_is_named(make_plugin: MakePlugin) -> None:
    from detzoo.recipes.recipe import load_recipe

    registry = Registry(make_plugin("a", MANIFEST))

    with pytest.raises(RecipeError) as caught:
        load_recipe("mine", registry=registry)

    manifest = registry.plugins.records["a"].manifest
    assert manifest is not None
    assert str(caught.value) == (
        f"{manifest.document.file}:11: detectors.theirs.extends: a cycle: a/mine -> a/theirs -> a/mine; "
        "one of them must not extend another"
    )


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        (
            "neck",
            "unfinished",
            'neck "a/unfinished" (zoo_a.components:Unfinished) is not a neck: it does not implement forward',
        ),
        ("head", "disguised", "head \"a/disguised\" (zoo_a.components:Disguised) is not a head: its `kind` is 'neck'"),
        ("neck", "number", 'neck "a/number": zoo_a.components:NUMBER is not a class'),
        (
            "neck",
            "gone",
            "neck \"a/gone\": importing zoo_a.components:Gone failed: AttributeError: module 'zoo_a.components' "
            "has no attribute 'Gone'",
        ),
        (
            "neck",
            "crashing",
            'neck "a/crashing": importing zoo_a.crashing:Plain failed: ModuleNotFoundError: '
            "No module named 'zoo_a.crashing'",
        ),
    ],
)
def test_a_component_that_cannot_be_loaded(make_plugin: MakePlugin, kind: str, name: str, message: str) -> None:
    registry = Registry(make_plugin("a", MANIFEST, module=MODULE, stored=STORED))

    with pytest.raises(PluginError) as caught:
        registry.load(registry.find(kind, name))

    assert str(caught.value) == message
    assert registry.load(registry.find("neck", "plain")).__name__ == "Plain"  # the others still work


def test_a_schema_is_read_from_the_class_where_the_manifest_has_none(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("a", MANIFEST, module=MODULE))

    assert registry.schema(registry.find("neck", "plain")) == Schema()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "  - a:B\n  - a:B\n",
            "{file}:4: components[1]: a:B is named twice",
        ),
        (
            "  - a.B\n",
            '{file}:3: components[0]: found "a.B"; expected "package.module:Class"',
        ),
        (
            '  - {target: "a:B"}\n',
            '{file}:3: components[0]: found {"target": "a:B"}; expected text',
        ),
        (
            "detectors:\n  a#b: {}\n",
            '{file}:4: detectors.a#b: found "a#b"; expected a name of letters, digits, _ - + and .',
        ),
    ],
)
def test_a_manifest_says_what_is_wrong_with_it(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("api: 1\ncomponents:\n" + lines.replace("detectors:", "  []\ndetectors:", 1))
    if lines.startswith("detectors"):
        path.write_text("api: 1\ncomponents: []\n" + lines)

    with pytest.raises(PluginError) as caught:
        read_manifest(path, "a")

    assert str(caught.value) == message.replace("{file}", str(path))


def test_register_the_same_class_again_changes_nothing() -> None:
    registry = Registry([])

    registry.register("sampler", "doubling", Doubling)
    registry.register("sampler", "doubling", Doubling)

    entry = registry.find("sampler", "doubling")
    assert (entry.id, entry.summary) == ("local/doubling", "A class of this test")
    assert registry.load(entry) is Doubling
    assert [e.id for e in registry.entries("sampler")].count("local/doubling") == 1


def test_register_another_class_names_both() -> None:
    registry = Registry([])
    registry.register("neck", "passing", Passing)

    class Passing2(Passing):
        pass

    with pytest.raises(PluginError) as caught:
        registry.register("neck", "passing", Passing2)

    here = __name__
    assert str(caught.value) == (
        f'neck "local/passing" is {here}:Passing already, not '
        f"{here}:test_register_another_class_names_both.<locals>.Passing2; choose another name"
    )


def test_registering_what_the_manifest_declares_changes_nothing() -> None:
    from detzoo.components.necks.identity import Identity

    registry = Registry([])
    registry.register("neck", "identity", Identity, plugin="core")

    assert [entry.id for entry in registry.entries("neck")].count("core/identity") == 1


@pytest.mark.parametrize(
    ("kind", "name", "cls", "message"),
    [
        ("nekc", "n", Passing, f'unknown kind "nekc"; did you mean "neck"? allowed: {", ".join(sorted(CORE_KINDS))}'),
        ("neck", "a/b", Passing, 'name of a neck: found "a/b"; expected a name of letters, digits, _ - + and .'),
        ("head", "n", Passing, f"head \"local/n\" ({__name__}:Passing) is not a head: its `kind` is 'neck'"),
        (
            "neck",
            "n",
            Neck,
            'neck "local/n" (detzoo.interfaces.neck:Neck) is not a neck: it does not implement forward',
        ),
    ],
)
def test_register_refuses(kind: str, name: str, cls: type[Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        Registry([]).register(kind, name, cls)

    assert str(caught.value) == message
