"""Hooks are called plugin by plugin: one that fails is named, and the others go on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from detzoo.errors import PluginError
from detzoo.plugins.manager import PluginManager
from detzoo.plugins.registry import Registry

MakePlugin = Callable[..., list[EntryPoint]]

MANIFEST = "api: 1\nhooks: [%s]\n"
START = "from detzoo.plugins import hookimpl\n\n\n@hookimpl\n"
CONVERT = START + "def detzoo_convert_weights(detector, state_dict, source):\n    %s\n"
REGISTER = (
    "from detzoo.interfaces import Neck\n\n\n"
    "class %s(Neck):\n    def forward(self, features):\n        return features\n\n\n"
    + START
    + "def detzoo_register(registry):\n    registry.register('neck', '%s', %s)\n%s"
)


def test_only_plugins_that_list_a_hook_are_imported(make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin(
            "a", MANIFEST % "detzoo_eval_finished", plugin=START + "def detzoo_eval_finished(evaluation): pass\n"
        ),
        *make_plugin("b", MANIFEST % "", plugin="raise AssertionError('imported')\n"),
    ]
    manager = PluginManager(points)

    assert manager.call("detzoo_eval_finished", evaluation=None) == []

    assert "zoo_a.plugin" in sys.modules
    assert "zoo_b.plugin" not in sys.modules
    assert manager.records["b"].status == "not-loaded"


def test_results_come_in_the_order_of_plugin_names(make_plugin: MakePlugin) -> None:
    body = START + "def detzoo_detector_built(detector, recipe): return '%s'\n"
    made = [make_plugin(name, MANIFEST % "detzoo_detector_built", plugin=body % name) for name in "cab"]
    manager = PluginManager([point for points in made for point in points])

    assert manager.call("detzoo_detector_built", detector=None, recipe=None) == ["a", "b", "c"]


def test_an_implementation_may_name_only_the_arguments_it_uses(make_plugin: MakePlugin) -> None:
    body = START + "def detzoo_train_step(step): return step + 1\n"
    manager = PluginManager(make_plugin("a", MANIFEST % "detzoo_train_step", plugin=body))

    assert manager.call("detzoo_train_step", step=1, losses={}, rate=0.1) == [2]


def test_convert_weights_stops_at_the_first_answer(make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin("a", MANIFEST % "detzoo_convert_weights", plugin=CONVERT % "return None"),
        *make_plugin("b", MANIFEST % "detzoo_convert_weights", plugin=CONVERT % "return {'b': 1}"),
        *make_plugin("c", MANIFEST % "detzoo_convert_weights", plugin=CONVERT % "raise AssertionError('asked')"),
    ]
    manager = PluginManager(points)

    assert manager.call("detzoo_convert_weights", detector=None, state_dict={}, source="x") == [{"b": 1}]


def test_read_weights_stops_at_the_first_answer(make_plugin: MakePlugin) -> None:
    body = START + "def detzoo_read_weights(path, source):\n    return {'a': 1} if source == 'x' else None\n"
    manager = PluginManager(make_plugin("a", MANIFEST % "detzoo_read_weights", plugin=body))

    assert manager.call("detzoo_read_weights", path=None, source="x") == [{"a": 1}]
    assert manager.call("detzoo_read_weights", path=None, source="y") == []


def test_a_hook_that_raises_is_named(make_plugin: MakePlugin) -> None:
    points = make_plugin("a", MANIFEST % "detzoo_convert_weights", plugin=CONVERT % "raise KeyError('conv1')")
    manager = PluginManager(points)

    with pytest.raises(PluginError) as caught:
        manager.call("detzoo_convert_weights", detector=None, state_dict={}, source="x")

    assert str(caught.value) == "plugin a (zoo-a 2.0): detzoo_convert_weights failed: KeyError: 'conv1'"
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_misspelt_argument_breaks_that_plugin_alone(make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin("a", MANIFEST % "detzoo_train_step", plugin=START + "def detzoo_train_step(stepp): pass\n"),
        *make_plugin("b", MANIFEST % "detzoo_train_step", plugin=START + "def detzoo_train_step(step): return step\n"),
    ]
    manager = PluginManager(points)

    assert manager.call("detzoo_train_step", step=3, losses={}, rate=0.1) == [3]
    assert manager.records["a"].status == "broken"
    assert "stepp" in manager.records["a"].trace


def test_register_adds_components_in_the_plugin_s_own_name(make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin("a", MANIFEST % "detzoo_register", plugin=REGISTER % ("One", "one", "One", "")),
        *make_plugin("b", MANIFEST % "detzoo_register", plugin=REGISTER % ("Two", "two", "Two", "    1 / 0\n")),
        *make_plugin("c", MANIFEST % "detzoo_register", plugin=REGISTER % ("Three", "three", "Three", "")),
    ]
    registry = Registry(points)
    assert "zoo_a.plugin" not in sys.modules

    assert registry.find("neck", "one").id == "a/one"
    assert registry.find("neck", "c/three").id == "c/three"
    assert registry.plugins.records["b"].status == "broken"
    assert registry.plugins.records["b"].message == "detzoo_register failed: ZeroDivisionError: division by zero"
    assert "1 / 0" in registry.plugins.records["b"].trace
    registry.register("neck", "mine", registry.load(registry.find("neck", "one")))
    assert registry.find("neck", "mine").id == "local/mine"


def test_register_that_raises_is_an_error_in_strict_mode(
    make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(
        make_plugin("a", MANIFEST % "detzoo_register", plugin=REGISTER % ("A", "a", "A", "    1 / 0\n"))
    )
    monkeypatch.setenv("DETZOO_STRICT", "1")

    with pytest.raises(
        PluginError, match=r"^plugin a \(zoo-a 2.0\) is broken: detzoo_register failed: ZeroDivisionErr"
    ):
        registry.entries()
