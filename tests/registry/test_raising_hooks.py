"""A hook that raises is told once and stops nobody; strict mode raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pytest

import detzoo
from detzoo.errors import PluginError, WeightsError
from detzoo.interfaces import Detector
from detzoo.plugins import manager as module
from detzoo.plugins.hooks import FIRST_RESULT, HOOKS
from detzoo.plugins.manager import PluginManager
from detzoo.plugins.registry import get_registry

MakePlugin = Callable[..., list[EntryPoint]]

ARGUMENTS: dict[str, dict[str, Any]] = {
    "detzoo_register": {"registry": None},
    "detzoo_read_weights": {"path": None, "source": "x"},
    "detzoo_convert_weights": {"detector": None, "state_dict": {}, "source": "x"},
    "detzoo_detector_built": {"detector": None, "recipe": None},
    "detzoo_train_step": {"step": 1, "losses": {}, "rate": 0.1},
    "detzoo_eval_finished": {"evaluation": None},
    "detzoo_cli": {"commands": None},
}
WAYS = {
    "an error": "raise KeyError('conv1')",
    "an error of detzoo's": "from detzoo.errors import DataError; raise DataError('no room')",
    "an exit": "import sys; sys.exit(3)",
}


def hook(name: str, body: str) -> str:
    names = ", ".join(ARGUMENTS[name])
    return f"from detzoo.plugins import hookimpl\n\n\n@hookimpl\ndef {name}({names}):\n    {body}\n"


def manifest(name: str) -> str:
    return f"api: 1\nhooks: [{name}]\n"


def test_every_hook_is_tried_here() -> None:
    assert set(ARGUMENTS) == set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("way", WAYS)
def test_the_others_are_called_and_the_plugin_is_named_once(
    name: str, way: str, make_plugin: MakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        *make_plugin("bad", manifest(name), plugin=hook(name, WAYS[way])),
        *make_plugin("good", manifest(name), plugin=hook(name, "return {'good': 1}")),
    ]
    plugins = PluginManager(points)

    with caplog.at_level(logging.WARNING):
        results = [plugins.call(name, **ARGUMENTS[name]) for _ in range(3)]

    assert results == [[{"good": 1}]] * 3
    assert len(caplog.records) == 1
    assert "plugin bad" in caplog.text
    assert name in caplog.text
    assert plugins.records["bad"].trace


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("way", WAYS)
def test_collecting_breaks_that_plugin_alone(name: str, way: str, make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin("bad", manifest(name), plugin=hook(name, WAYS[way])),
        *make_plugin("good", manifest(name), plugin=hook(name, "return None")),
    ]
    plugins = PluginManager(points)

    plugins.collect(name, lambda _: ARGUMENTS[name])

    assert [plugins.records[one].status for one in ("bad", "good")] == ["broken", "ok"]
    assert plugins.records["bad"].message.startswith(f"{name} failed: ")


@pytest.mark.parametrize("name", HOOKS)
def test_strict_mode_raises(name: str, make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = PluginManager(make_plugin("bad", manifest(name), plugin=hook(name, WAYS["an error"])))
    monkeypatch.setenv("DETZOO_STRICT", "1")

    with pytest.raises(PluginError, match=f"plugin bad .*{name} failed: KeyError: 'conv1'"):
        plugins.call(name, **ARGUMENTS[name])


@pytest.mark.parametrize("name", FIRST_RESULT)
def test_a_plugin_that_knows_what_is_wrong_is_heard_before_one_that_crashes(name: str, make_plugin: MakePlugin) -> None:
    points = [
        *make_plugin("bad", manifest(name), plugin=hook(name, WAYS["an error"])),
        *make_plugin(
            "owner",
            manifest(name),
            plugin=hook(name, "from detzoo.errors import WeightsError; raise WeightsError('cut after 3 bytes')"),
        ),
    ]

    with pytest.raises(WeightsError, match=r"^cut after 3 bytes$"):
        PluginManager(points).call(name, **ARGUMENTS[name])


@pytest.fixture
def raising(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment, and a plugin that raises in every hook that watches."""
    watching = ("detzoo_detector_built", "detzoo_train_step", "detzoo_eval_finished")
    body = "\n\n".join(hook(name, f"raise KeyError('{name}')") for name in watching)
    points = [*entry_points(group="detzoo.plugins"), *make_plugin("bad", manifest(", ".join(watching)), plugin=body)]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    get_registry.cache_clear()
    yield
    get_registry.cache_clear()


@pytest.mark.usefixtures("raising")
def test_build_training_evaluation_and_report_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("detzoo_ssd")
    data, small = "shapes:size=64,train=4,val=2", {"input.size": [64, 64], "backbone.weights": None}

    with caplog.at_level(logging.WARNING):
        detector = detzoo.build("ssd_mobilenet_v2", num_classes=5, overrides=small, weights=None)
        assert isinstance(detector, Detector)
        summary = detzoo.train(
            detector, detzoo.open_dataset(data, "train"), out=tmp_path / "run", steps=2, batch=2, workers=0,
            device="cpu", progress=False,
        )  # fmt: skip
        found = detzoo.evaluate(detector, detzoo.open_dataset(data, "val"), progress=False)
        found.write(tmp_path / "report")

    assert summary.steps == 2
    assert (tmp_path / "report" / "results.json").is_file()
    told = [record.getMessage() for record in caplog.records if "plugin bad" in record.getMessage()]
    for name in ("detzoo_detector_built", "detzoo_train_step", "detzoo_eval_finished"):
        assert sum(name in one for one in told) == 1


@pytest.mark.usefixtures("raising")
def test_a_strict_build_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("detzoo_ssd")
    monkeypatch.setenv("DETZOO_STRICT", "1")

    with pytest.raises(PluginError, match=r"plugin bad .*detzoo_detector_built failed"):
        detzoo.build("ssd_ultralight_face_slim", weights=None)
