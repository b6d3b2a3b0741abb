"""``detzoo list NAME``: a plugin's components, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from detzoo.errors import RecipeError
from detzoo.plugins.listing import detector_rows, matching, plugin_lines, plugins_called
from detzoo.plugins.registry import Registry
from tests.registry.conftest import stored

MakePlugin = Callable[..., list[EntryPoint]]

GOOD = "api: 1\ncomponents: [zoo_{name}.components:A, zoo_{name}.components:B]\ndetectors:\n  det_x: {summary: s}\n"


@pytest.mark.parametrize("name", ["good", "zoo-good", "Zoo_Good"])
def test_a_plugin_shows_its_components_by_kind(name: str, make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("good", GOOD, module="1 / 0", stored=stored(A="neck/a", B="head/b")))

    (record,) = plugins_called([name], registry)

    assert plugin_lines(record, registry) == ["good (zoo-good 2.0), components:", "  head: b", "  neck: a"]


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        ("api: 1\nhoks: []\n", 'unknown key "hoks"'),
        ("api: 99\n", "it was written for api 99"),
        ("api: {", "not valid YAML"),
        (None, "cannot be read"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_shown_with_its_error(
    manifest: str | None, told: str, make_plugin: MakePlugin
) -> None:
    registry = Registry(make_plugin("bad", manifest))

    assert matching(detector_rows(registry), ["bad"], registry) == []  # no error: there is something to show
    (record,) = plugins_called(["bad"], registry)
    (line,) = plugin_lines(record, registry)
    assert line.startswith("plugin bad (zoo-bad 2.0) is in")
    assert told in line
    with pytest.raises(RecipeError, match=r"none of the 0 rows holds 'det_x'.*; plugin bad \(zoo-bad 2.0\) is in"):
        matching(detector_rows(registry), ["det_x"], registry)  # it may be that plugin's


def test_components_that_cannot_be_read_are_told(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("mine", GOOD, module="class A: kind = 'neck'\n"))

    (record,) = plugins_called(["mine"], registry)

    lines = plugin_lines(record, registry)
    assert lines[:2] == ["mine (zoo-mine 2.0), components:", "  neck: a"]
    assert "importing zoo_mine.components:B failed" in lines[2]


def test_no_words_and_several_words_call_no_plugin(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("good"))
    assert plugins_called([], registry) == []
    assert plugins_called(["good", "zoo-good"], registry) == []
