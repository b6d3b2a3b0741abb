"""Finding plugins: every status, isolation, and nothing imported on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from detzoo.errors import PluginError, RecipeError
from detzoo.plugins.hooks import HOOKS
from detzoo.plugins.listing import detector_rows
from detzoo.plugins.manager import PluginManager
from detzoo.plugins.registry import Registry
from detzoo.testing.plugin_check import check_all, rows
from tests.registry.conftest import stored

MakePlugin = Callable[..., list[EntryPoint]]

NECK = "components: [zoo_{name}.components:Neck]\n"
MANIFEST = "api: 1\n"


def status(manager: PluginManager) -> dict[str, str]:
    """Plugin -> status, without the core."""
    return {name: record.status for name, record in manager.records.items() if name != "core"}


def test_no_plugins() -> None:
    registry = Registry([])

    assert list(registry.plugins.records) == ["core"]
    assert registry.detectors() == {}
    assert {entry.plugin for entry in registry.entries()} == {"core"}


def test_all_statuses_at_once_and_no_plugin_imported(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETZOO_DISABLE", "off, unheard_of")
    before = set(sys.modules)
    points = [
        *make_plugin("good", MANIFEST + NECK, stored=stored(Neck="neck/good_neck")),
        *make_plugin("off"),
        *make_plugin("new", "api: 2\nkeys_of_the_future: [1]\n"),
        *make_plugin("wrong", "api: 1\ncomponents: [{kind: nekc}]\nhoks: []\n"),
        *make_plugin("bare", None),
        *make_plugin("breaks", plugin="raise ImportError('no such library')"),
        *make_plugin("leaves", plugin="raise SystemExit(3)"),
        *make_plugin("twice", distribution="zoo-one"),
        *make_plugin("twice", distribution="zoo-two"),
    ]

    registry = Registry(points)

    assert status(registry.plugins) == {
        "good": "not-loaded",
        "off": "disabled",
        "new": "incompatible",
        "wrong": "invalid",
        "bare": "invalid",
        "breaks": "not-loaded",
        "leaves": "not-loaded",
        "twice": "conflict",
    }
    assert detector_rows(registry) == []
    assert registry.find("neck", "good_neck").id == "good/good_neck"
    assert not [name for name in set(sys.modules) - before if name.startswith("zoo_")]

    problems = check_all(registry)

    assert status(registry.plugins)["breaks"] == status(registry.plugins)["leaves"] == "broken"
    assert {problem.split()[1] for problem in problems if problem.startswith("plugin")} == {
        "bare", "breaks", "leaves", "new", "twice", "wrong",
    }  # fmt: skip


def message(registry: Registry, name: str) -> str:
    """Why a plugin is not used."""
    return registry.plugins.records[name].message


def test_messages_say_what_is_wrong_and_where(make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = [
        *make_plugin("new", "api: 2\n"),
        *make_plugin(
            "wrong",
            "api: 1\nhoks: []\ncomponents:\n  - a:B\ndetectors:\n  x: 3\n  y: {reported: [{value: high}]}\n",
        ),
        *make_plugin("bare", None),
        *make_plugin("hooked", "api: 1\nhooks: [detzoo_register, detzoo_paint]\n"),
        *make_plugin("words", "just words\n"),
        *make_plugin("twice", distribution="zoo-two"),
        *make_plugin("twice", distribution="zoo-one"),
        EntryPoint("lost", "package_that_is_gone.plugin", "detzoo.plugins"),
    ]
    registry = Registry(points)
    wrong = tmp_path / "zoo-wrong" / "zoo_wrong" / "registry.yaml"

    assert message(registry, "new") == "it was written for api 2, this detzoo has api 1; upgrade detzoo"
    assert message(registry, "wrong").splitlines() == [
        f'{wrong}:2: hoks: unknown key "hoks" of the manifest; did you mean "hooks"? '
        "allowed: api, components, conformance, converters, detectors, elsewhere, hooks, kinds",
        f"{wrong}:6: detectors.x: found 3; expected a mapping of the recipe's keys",
        f'{wrong}:7: detectors.y.reported[0].value: found "high"; expected a number',
        f'{wrong}:7: detectors.y.reported[0]: missing key "dataset" of detectors.y.reported[0]; expected text',
        f'{wrong}:7: detectors.y.reported[0]: missing key "metric" of detectors.y.reported[0]; expected text',
        f'{wrong}:7: detectors.y.reported[0]: missing key "protocol" of detectors.y.reported[0]; expected text',
        f'{wrong}:7: detectors.y.reported[0]: missing key "source" of detectors.y.reported[0]; expected text',
    ]
    bare = tmp_path / "zoo-bare" / "zoo_bare" / "registry.yaml"
    assert message(registry, "bare") == f"{bare}: cannot be read (No such file or directory)"
    assert message(registry, "hooked") == f"unknown hook detzoo_paint; known: {', '.join(HOOKS)}"
    words = tmp_path / "zoo-words" / "zoo_words" / "registry.yaml"
    assert message(registry, "words") == (
        f"{words}: a manifest is a mapping with the keys api, kinds, components, converters, hooks, elsewhere, "
        "conformance, detectors"
    )
    assert message(registry, "twice") == (
        'zoo-one 2.0 and zoo-two 2.0 both provide a plugin named "twice"; uninstall one'
    )
    assert message(registry, "lost") == (
        "package package_that_is_gone of its entry point cannot be found; reinstall it"
    )


def test_an_older_api_is_refused_before_import(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    from detzoo.plugins import manifest

    monkeypatch.setattr(manifest, "OLDEST_API", 2)
    monkeypatch.setattr(manifest, "API_VERSION", 3)
    monkeypatch.setattr(manifest, "core_manifest", lambda: None)
    points = make_plugin("old", "api: 1\n", plugin="raise AssertionError('imported')")
    from detzoo.plugins.manager import _discover

    record = _discover(points[0])

    assert record.status == "incompatible"
    assert record.message == "it was written for api 1, this detzoo needs 2; upgrade the plugin"


@pytest.mark.parametrize("order", [1, -1])
def test_nothing_depends_on_the_order_of_discovery(make_plugin: MakePlugin, order: int) -> None:
    points = [
        *make_plugin("a", MANIFEST + NECK, stored=stored(Neck="neck/same")),
        *make_plugin("b", MANIFEST + NECK, stored=stored(Neck="neck/same")),
        *make_plugin("twice", distribution="zoo-one"),
        *make_plugin("twice", distribution="zoo-two"),
    ]

    registry = Registry(points[::order])

    assert list(registry.plugins.records) == ["core", "a", "b", "twice"]
    assert [entry.id for entry in registry.entries("neck") if entry.name == "same"] == ["a/same", "b/same"]
    assert "zoo-one 2.0 and zoo-two 2.0" in message(registry, "twice")


def test_a_plugin_cannot_take_the_core_s_name(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("core", distribution="zoo-thief"))

    assert registry.plugins.records["core"].status == "ok"
    thief = registry.plugins.records["core (zoo-thief 2.0)"]
    assert thief.status == "conflict"
    assert thief.message.endswith('both provide a plugin named "core"; uninstall one')


@pytest.mark.parametrize(
    ("variable", "value", "used"),
    [
        ("DETZOO_DISABLE", "a", {"b"}),
        ("DETZOO_DISABLE", "a,b", set()),
        ("DETZOO_DISABLE", "", {"a", "b"}),
        ("DETZOO_PLUGINS", "a", {"a"}),
        ("DETZOO_PLUGINS", "", set()),
        ("DETZOO_PLUGINS", " a , b ", {"a", "b"}),
    ],
)
def test_plugins_are_switched_by_the_environment(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, used: set[str]
) -> None:
    points = [*make_plugin("a"), *make_plugin("b")]
    monkeypatch.setenv(variable, value)

    manager = PluginManager(points)

    assert {record.name for record in manager.usable()} - {"core"} == used
    assert set(status(manager).values()) <= {"not-loaded", "disabled"}


def test_two_disabled_plugins_of_one_name_are_no_conflict(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [*make_plugin("a", distribution="zoo-one"), *make_plugin("a", distribution="zoo-two")]
    monkeypatch.setenv("DETZOO_DISABLE", "a")

    assert status(PluginManager(points)) == {"a": "disabled"}


def test_a_broken_import_is_saved_with_its_traceback(make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin("bad", MANIFEST + NECK, stored=stored(Neck="neck/bad_neck"), plugin="import gone_library\n"),
        *make_plugin("good", MANIFEST + NECK, stored=stored(Neck="neck/good_neck"), module=CLASSES),
    ]
    registry = Registry(points)

    with pytest.raises(PluginError) as caught:
        registry.load(registry.find("neck", "bad_neck"))

    assert str(caught.value) == (
        "plugin bad (zoo-bad 2.0) is broken: importing zoo_bad.plugin failed: ModuleNotFoundError: "
        "No module named 'gone_library'; see `detzoo plugins check` for details"
    )
    assert "import gone_library" in registry.plugins.records["bad"].trace
    assert registry.load(registry.find("neck", "good_neck")).__name__ == "Neck"
    row = next(row for row in rows(registry) if row["name"] == "bad")
    assert row["status"] == "broken"
    assert "Traceback (most recent call last)" in row["trace"]


def test_a_name_that_a_broken_plugin_could_hold_says_so(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("bad", plugin="1 / 0"))
    check_all(registry)

    with pytest.raises(RecipeError) as caught:
        registry.find("neck", "lost_neck")

    assert str(caught.value).startswith('unknown neck "lost_neck"; installed: ')
    assert str(caught.value).endswith(
        "; plugin bad (zoo-bad 2.0) is broken: importing zoo_bad.plugin failed: ZeroDivisionError: division by zero; "
        "see `detzoo plugins check` for details"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("api: 2\n", "incompatible"),
        ("api: 1\nplugins: b\n", "invalid"),
        (None, "invalid"),
    ],
)
def test_strict_mode_raises_at_discovery(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, text: str | None, problem: str
) -> None:
    points = make_plugin("a", text)
    monkeypatch.setenv("DETZOO_STRICT", "1")

    with pytest.raises(PluginError, match=rf"^plugin a \(zoo-a 2.0\) is {problem}: "):
        Registry(points)


def test_strict_mode_raises_for_two_of_one_name(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [*make_plugin("a", distribution="zoo-one"), *make_plugin("a", distribution="zoo-two")]
    monkeypatch.setenv("DETZOO_STRICT", "1")

    with pytest.raises(PluginError, match=r"is conflict: zoo-one 2.0 and zoo-two 2.0"):
        Registry(points)


def test_strict_mode_raises_at_import(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = PluginManager(make_plugin("a", "api: 1\nhooks: [detzoo_register]\n", plugin="1 / 0"))
    monkeypatch.setenv("DETZOO_STRICT", "1")

    with pytest.raises(PluginError, match="ZeroDivisionError"):
        manager.implementing("detzoo_register")


LISTING = """
import sys
from detzoo.plugins.listing import component_rows, detector_rows, not_installed
from detzoo.testing.plugin_check import rows
from detzoo.recipes.recipe import load_recipe
from detzoo.recipes.editor_schema import recipe_file_schema
names = [row["name"] for row in detector_rows()]
assert "toy_detector" in names, names
component_rows("head"), not_installed(), rows(), load_recipe("toy_child"), recipe_file_schema()
heavy = {"torch", "torchvision", "numpy", "cv2", "toy_zoo", "detzoo_ssd", "detzoo.builder", "detzoo.types"}
print(sorted(heavy & set(sys.modules)))
"""


def test_listing_showing_and_schema_import_no_torch_and_no_plugin() -> None:
    path = Path(__file__).parents[1] / "toy_zoo"
    environment = {"PYTHONPATH": str(path), "PATH": ""}

    done = subprocess.run([sys.executable, "-c", LISTING], env=environment, capture_output=True, text=True, check=False)

    assert done.stderr == ""
    assert done.stdout.strip() == "[]"


CLASSES = """
from detzoo.interfaces import Neck as Interface


class Neck(Interface):
    def forward(self, features):
        return features
"""
