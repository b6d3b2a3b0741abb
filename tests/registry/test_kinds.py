"""Kinds that plugins bring: known to listing, messages, recipes and the build; never at the cost of another plugin."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from detzoo.errors import PluginError, RecipeError
from detzoo.plugins.kinds import OwnKind
from detzoo.plugins.listing import component_rows
from detzoo.plugins.registry import Registry
from detzoo.recipes.compatibility import heads
from detzoo.recipes.editor_schema import recipe_file_schema
from detzoo.schema.nodes import ComponentOf, Null, Union
from detzoo.schema.signature import schema_of
from tests.registry.conftest import stored

MakePlugin = Callable[..., list[EntryPoint]]

OWNER = """\
api: 1
kinds: [{kind: track, interface: "zoo_{name}.components:Track"}]
components: [zoo_{name}.components:Straight]
"""
GUEST = """\
api: 1
components: [zoo_{name}.components:Bent]
"""
STRAIGHT, BENT = stored(Straight="track/straight"), stored(Bent="track/bent")
MODULE = """\
from abc import ABC, abstractmethod
from typing import ClassVar


class Track(ABC):
    kind: ClassVar[str] = "track"

    @abstractmethod
    def follow(self): ...


class Straight(Track):
    def __init__(self, *, width: int = 3, inner: Track | None = None):
        pass

    def follow(self):
        pass
"""


def test_without_plugins_there_are_the_core_s() -> None:
    registry = Registry([])

    assert "neck" in registry.kinds
    assert "track" not in registry.kinds
    assert registry.plugins.kinds == {}
    assert heads(registry) == []


def test_a_kind_is_known_before_its_plugin_is_imported(make_plugin: MakePlugin) -> None:
    registry = Registry(
        [*make_plugin("tracks", OWNER, module=MODULE, stored=STRAIGHT), *make_plugin("curves", GUEST, stored=BENT)]
    )

    assert registry.plugins.kinds == {
        "track": OwnKind("tracks", "track", "zoo_tracks.components:Track", None),
    }
    assert "track" in registry.kinds
    assert [row["name"] for row in component_rows("track", registry)] == ["bent", "straight"]
    assert "zoo_tracks.components" not in sys.modules
    with pytest.raises(RecipeError, match=r'^unknown track "bend"; did you mean "bent"\?'):
        registry.find("track", "bend")


def test_the_interface_is_an_annotation_and_a_definition_of_the_editor_s_schema(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("tracks", OWNER, module=MODULE))

    cls = registry.load(registry.find("track", "straight"))

    fields = schema_of(cls).fields
    assert fields["inner"].type == Union((ComponentOf("track"), Null()))
    variants = recipe_file_schema(registry)["$defs"]["track"]["anyOf"]
    assert variants[0]["properties"]["type"] == {"enum": ["straight", "tracks/straight"]}


def test_a_kind_whose_components_give_class_logits_counts_as_a_head(make_plugin: MakePlugin) -> None:
    module = MODULE.replace(
        "class Track(ABC):", "class Track(Component, ABC):\n    gives = frozenset({Feature.CLASS_LOGITS})"
    )
    module = f"from detzoo.feature import Component, Feature\n{module}"

    registry = Registry(make_plugin("tracks", OWNER, module=module))

    assert [entry.id for entry in heads(registry)] == ["tracks/straight"]


def test_a_component_of_a_missing_kind_says_so_with_its_line(make_plugin: MakePlugin) -> None:
    registry = Registry(make_plugin("curves", GUEST, stored=BENT.replace("track", "trakc")))

    record = registry.plugins.records["curves"]
    assert record.status == "invalid"
    assert record.manifest is not None
    told = f'{record.manifest.document.file}:2: components[0]: zoo_curves.components:Bent: unknown kind "trakc"'
    assert record.message.startswith(told)


def test_the_zoo_s_index_says_who_brings_a_kind(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = {"tracks": {"distribution": "zoo-tracks", "kinds": ["track"]}}
    monkeypatch.setattr("detzoo.plugins.manager.zoo_plugins", lambda: zoo)
    told = 'kind "track" is not installed; provided by zoo-tracks: pip install zoo-tracks'

    registry = Registry(make_plugin("curves", GUEST, stored=BENT))

    assert registry.plugins.records["curves"].message.endswith(f"components[0]: zoo_curves.components:Bent: {told}")
    with pytest.raises(RecipeError) as listed:
        component_rows("track", registry)
    with pytest.raises(RecipeError) as found:
        registry.find("track", "straight")
    with pytest.raises(PluginError) as registered:
        registry.register("track", "mine", object)
    assert str(listed.value) == str(found.value) == str(registered.value) == told


def test_a_kind_of_a_plugin_that_is_switched_off(make_plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = {"tracks": {"distribution": "zoo-tracks", "kinds": ["track"]}}
    monkeypatch.setattr("detzoo.plugins.manager.zoo_plugins", lambda: zoo)
    monkeypatch.setenv("DETZOO_DISABLE", "tracks")

    registry = Registry(make_plugin("tracks", OWNER, module=MODULE))

    with pytest.raises(RecipeError, match=r"plugin tracks \(zoo-tracks 2.0\) is disabled"):
        component_rows("track", registry)


def test_two_plugins_with_one_kind_stop_each_other_and_no_third(make_plugin: MakePlugin) -> None:
    good = 'api: 1\nkinds: [{kind: lane, interface: "zoo_{name}.components:Lane"}]\n'
    registry = Registry(
        [
            *make_plugin("one", OWNER),
            *make_plugin("two", OWNER),
            *make_plugin("curves", GUEST, stored=BENT),
            *make_plugin("good", good),
        ]
    )

    records = registry.plugins.records
    assert {name: records[name].status for name in ("one", "two", "curves", "good")} == {
        "one": "conflict",
        "two": "conflict",
        "curves": "invalid",
        "good": "not-loaded",
    }
    assert records["one"].message == 'zoo-one 2.0 and zoo-two 2.0 both bring the kind "track"; uninstall one'
    assert list(registry.plugins.kinds) == ["lane"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "{kind: neck, interface: 'a:B'}",
            """:2: kinds[0].kind: "neck" is one of detzoo's own kinds""",
        ),
        ("{kind: my-kind, interface: 'a:B'}", ':2: kinds[0].kind: found "my-kind"; expected a name of letters'),
        ("{kind: lane, interface: a.B}", ':2: kinds[0].interface: found "a.B"; expected "package.module:Class"'),
        ("{kind: lane}", ':2: kinds[0]: missing key "interface" of kinds[0]; expected text'),
        (
            "{kind: lane, interface: 'a:B'}, {kind: lane, interface: 'a:B'}",
            'kinds[1]: kind "lane" is declared twice',
        ),
    ],
)
def test_mistakes_in_the_key_are_told_with_their_line(make_plugin: MakePlugin, written: str, message: str) -> None:
    registry = Registry(make_plugin("lanes", f"api: 1\nkinds: [{written}]\n"))

    record = registry.plugins.records["lanes"]
    assert record.status == "invalid"
    assert message in record.message


def test_listing_a_plugin_s_kind_loads_no_torch() -> None:
    pytest.importorskip("detzoo_rcnn")
    code = (
        "import sys; from detzoo.plugins.listing import component_rows\n"
        "print(component_rows('region_head')[0]['name'], 'torch' in sys.modules, 'detzoo_rcnn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["region_fc", "False", "False"]
