"""Components, detectors, kinds and converters of one name in several plugins: each writer means its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import RecipeError
from detzoo.plugins.listing import detector_rows
from detzoo.plugins.registry import Registry
from detzoo.recipes.editor_schema import kind_schema, recipe_file_schema
from detzoo.recipes.full_names import stored_values
from detzoo.recipes.recipe import load_recipe, recipe_from_values
from tests.conftest import TOY_ZOO
from tests.registry.conftest import stored

MakePlugin = Callable[..., list[EntryPoint]]

RECIPE = (TOY_ZOO / "toy_zoo" / "registry.yaml").read_text(encoding="utf-8").partition("detectors:\n")[2]
DETECTORS = "detectors:\n" + RECIPE
CORE_NAMES = {
    "architecture": "one_stage", "neck": "identity", "box_coder": "centre_size", "matcher": "ssd_bipartite",
    "sampler": "all", "loss": "multibox", "class_loss": "cross_entropy", "box_loss": "smooth_l1",
    "normaliser": "positives", "miner": "hard_negative", "postprocess": "detections", "suppress": "nms",
    "settings": "train",
}  # fmt: skip


def toy_points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    monkeypatch.syspath_prepend(TOY_ZOO)
    return [point for found in distributions(path=[str(TOY_ZOO)]) for point in found.entry_points]


def thief(make_plugin: MakePlugin, kind: str, name: str, plugin: str = "thief", **more: Any) -> list[EntryPoint]:
    """A plugin whose one component has somebody else's name; its class is never imported."""
    manifest = "api: 1\ncomponents: [zoo_{name}.components:Stolen]\n"
    return make_plugin(plugin, manifest, module="1 / 0", stored=stored(Stolen=f"{kind}/{name}"), **more)


def everything_in(values: Any) -> set[str]:
    """Every ``type`` in a recipe."""
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    own = {values["type"]} if isinstance(values, dict) and "type" in values else set()
    return own.union(*map(everything_in, inner))


@pytest.mark.parametrize("kind", CORE_NAMES)
@pytest.mark.parametrize("plugin", ["aaa", "zzz"])  # found before the zoo's and after it
def test_a_component_named_like_a_core_one_changes_no_recipe(
    kind: str, plugin: str, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    points = toy_points(monkeypatch)
    before = load_recipe("toy_child", registry=Registry(points)).values
    mine = tmp_path / "mine.yaml"
    mine.write_text("api: 1\ndetectors:\n  mine:\n    extends: toy_detector\n    neck: {type: identity}\n")

    registry = Registry([*points, *thief(make_plugin, kind, CORE_NAMES[kind], plugin)])

    assert load_recipe("toy_child", registry=registry).values == before
    assert load_recipe(str(mine), registry=registry).values["neck"] == {"type": "identity"}
    old_run = recipe_from_values("runs/old", dict(before), registry=registry)  # stored without ids
    assert old_run.values == before
    assert registry.find(kind, CORE_NAMES[kind]).plugin == "core"
    assert registry.find(kind, f"{plugin}/{CORE_NAMES[kind]}").plugin == plugin
    if kind in ("architecture", "settings"):
        assert recipe_file_schema(registry)["$defs"]
    else:
        variants = kind_schema(registry, kind, {})["anyOf"]
        named = [one["properties"]["type"]["enum"] for one in variants if "properties" in one]
        assert [CORE_NAMES[kind], f"core/{CORE_NAMES[kind]}"] in named
        assert [f"{plugin}/{CORE_NAMES[kind]}"] in named
    assert f"zoo_{plugin}.components" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "name"), [("head", "toy_head"), ("backbone", "toy_backbone"), ("transform", "toy_noise")]
)
def test_a_component_named_like_another_plugin_s_leaves_that_plugin_its_own(
    kind: str, name: str, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = toy_points(monkeypatch)
    before = stored_values(load_recipe("toy_child", registry=Registry(points)).values, Registry(points))
    registry = Registry([*points, *thief(make_plugin, kind, name)])

    recipe = load_recipe("toy_child", registry=registry)

    assert f"toy/{name}" in everything_in(recipe.values)  # a short name would be ambiguous from now on
    assert stored_values(recipe.values, registry) == before
    assert recipe_from_values("runs/x", before, registry=registry).values == recipe.values
    with pytest.raises(RecipeError, match=f'{kind} "{name}" is ambiguous; write thief/{name} or toy/{name}'):
        registry.find(kind, name)


def test_a_detector_of_one_name_is_the_writer_s_own_then_its_dependency_s(make_plugin: MakePlugin) -> None:
    head = "api: 1\ndetectors:\n  base: {summary: of %s}\n  "
    points = [
        *make_plugin("one", head % "one" + "derived: {extends: base}\n"),
        *make_plugin("two", head % "two" + "derived: {extends: base}\n"),
        *make_plugin("three", "api: 1\ndetectors:\n  third: {extends: base}\n", requires="zoo-two>=1"),
        *make_plugin("four", "api: 1\ndetectors:\n  fourth: {extends: base}\n"),
        *make_plugin("five", "api: 1\ndetectors:\n  fifth: {extends: base}\n", requires='zoo-two; extra == "dev"'),
    ]
    registry = Registry(points)

    assert registry.locate("base", "one")[0].name == "one"
    assert registry.locate("base", "two")[0].name == "two"
    assert registry.locate("base", "three")[0].name == "two"
    for asker in ("four", "five", None):
        with pytest.raises(RecipeError, match='detector "base" is ambiguous; write one/base or two/base'):
            registry.locate("base", asker)
    assert {row["name"] for row in detector_rows(registry)} >= {"one/base", "two/base", "third", "fourth", "fifth"}


def test_extends_means_the_dependency_s(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        *toy_points(monkeypatch),
        *make_plugin("other", "api: 1\n" + DETECTORS),
        *make_plugin("child", "api: 1\ndetectors:\n  mine: {extends: toy_detector}\n", requires="toy-zoo"),
    ]
    registry = Registry(points)
    dependency = registry.plugins.records["toy"].distribution.rpartition(" ")[0]
    registry.plugins.records["child"].requires = frozenset({dependency})

    assert load_recipe("mine", registry=registry).chain == ("toy/toy_detector", "child/mine")


def test_a_stored_recipe_names_each_provider_and_what_to_install(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = toy_points(monkeypatch)
    registry = Registry(points)
    kept = stored_values(load_recipe("toy_child", registry=registry).values, registry)
    toy = registry.plugins.records["toy"].distribution
    assert kept["architecture"] == "core/one_stage"
    assert kept["providers"] == {"core": registry.plugins.records["core"].distribution, "toy": toy}
    assert all("/" in name for name in everything_in(kept))

    with pytest.raises(RecipeError) as caught:
        recipe_from_values("runs/x", kept, registry=Registry([]))

    lines = str(caught.value).splitlines()
    assert len(lines) == 4  # backbone, head and two transforms
    name = toy.rpartition(" ")[0]
    assert all(f"its plugin toy is not installed: pip install {name}" in line for line in lines)
    monkeypatch.setenv("DETZOO_DISABLE", "toy")
    with pytest.raises(RecipeError, match=r"plugin toy \(.*\) is disabled"):
        recipe_from_values("runs/x", kept, registry=Registry(points))


def test_what_is_registered_by_hand_is_the_user_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from detzoo.components.necks.identity import Identity

    class Mine(Identity):
        pass

    registry = Registry(toy_points(monkeypatch))
    before = load_recipe("toy_detector", registry=registry).values
    registry.register("neck", "identity", Mine)

    assert registry.find("neck", "identity").id == "local/identity"
    recipe = load_recipe("toy_detector", registry=registry)
    assert recipe.values["neck"] == {"type": "core/identity"}  # the plugin meant the core's, and still does
    assert recipe.values | {"neck": before["neck"]} == before
    swapped = load_recipe("toy_detector", ["neck={type: identity}"], registry=registry)
    assert swapped.values["neck"] == {"type": "identity"}


def test_a_kind_of_the_zoo_s_cannot_be_taken_away(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = {"tracks": {"distribution": "zoo-tracks", "kinds": ["track"]}}
    monkeypatch.setattr("detzoo.plugins.manager.zoo_plugins", lambda: zoo)
    kinds = 'api: 1\nkinds: [{kind: track, interface: "zoo_{name}.components:Track"}]\n'

    registry = Registry([*make_plugin("tracks", kinds), *make_plugin("aaa", kinds)])

    assert registry.plugins.kinds["track"].plugin == "tracks"
    assert registry.plugins.records["tracks"].status == "not-loaded"
    assert registry.plugins.records["aaa"].status == "conflict"


def test_a_detector_s_own_plugins_convert_its_weights_first(make_plugin: MakePlugin) -> None:
    hook = "api: 1\nhooks: [detzoo_convert_weights]\n"
    body = (
        "from detzoo.plugins import hookimpl\n@hookimpl\n"
        "def detzoo_convert_weights(detector, state_dict, source): return {'%s': 1}\n"
    )
    points = [point for name in ("aaa", "mine", "zzz") for point in make_plugin(name, hook, plugin=body % name)]
    plugins = Registry(points).plugins
    arguments: dict[str, Any] = {"detector": None, "state_dict": {}, "source": "somewhere"}

    assert plugins.call("detzoo_convert_weights", ["mine"], **arguments) == [{"mine": 1}]
    assert plugins.call("detzoo_convert_weights", **arguments) == [{"aaa": 1}]
