"""One plugin whose files are damaged, in any way: `list`, `show` and `schema` of all others go on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from detzoo.plugins.listing import component_rows, detector_rows
from detzoo.plugins.registry import Registry
from detzoo.recipes.editor_schema import kind_schema
from tests.registry.conftest import MANIFEST, stored

MakePlugin = Callable[..., list[EntryPoint]]

CLASS = """
from detzoo.interfaces import Neck
class {name}Neck(Neck):
    def __init__(self, *, width: int = 8) -> None:
        super().__init__()
"""
BAD = MANIFEST + "components: [zoo_{name}.components:BadNeck]\n"
GOOD = MANIFEST + "components: [zoo_{name}.components:GoodNeck]\n"
MANIFESTS: dict[str, bytes] = {
    "empty": b"",
    "a number": b"7\n",
    "a list": b"[1, 2]\n",
    "cut": b"api: 1\ncomponents: [{kind: neck, na",
    "binary": bytes(range(256)) * 20,
    "UTF-16": "api: 1\n".encode("utf-16"),
    "Latin-1": "api: 1\nhooks: [caf\xe9]\n".encode("latin-1"),
    "huge": b"# " + b"x" * 5_000_000,
    "deep": b"api: 1\nhooks: " + b"[" * 5000,
    "a long number": b"api: " + b"9" * 5000 + b"\n",
    "an infinite api": b"api: 1e400\n",
    "api as text": b"api: one\n",
    "control characters": b"api: 1\nplugin: \x07\n",
    "many unknown keys": b"api: 1\n" + b"".join(b"k%d: 1\n" % i for i in range(2000)),
    **{
        f"{key} is {text}": f"api: 1\n{key}: {text}\n".encode()
        for key in ("kinds", "components", "detectors", "converters", "hooks", "elsewhere", "conformance")
        for text in ("7", "text", "[7]", "[[]]", "{a: 7}", "{a: [b]}", "[{kind: [neck], target: 3}]", ".nan")
    },
}
FIELD = {"type": {"is": "int"}, "default": 8}
SCHEMA = {
    "kind": "neck", "name": "bad_neck", "summary": "bad", "supplies": [], "fields": {"width": FIELD}, "gives": [],
    "needs": [],
}  # fmt: skip


def with_changes(**changes: Any) -> str:
    return json.dumps({"zoo_bad.components:BadNeck": SCHEMA | changes})


def field(**changes: Any) -> str:
    return with_changes(fields={"width": FIELD | changes})


SCHEMAS: dict[str, bytes] = {
    "binary": bytes(range(256)),
    "cut": with_changes()[:-9].encode(),
    "deep": b"[" * 200_000,
    "a long number": b'{"zoo_bad.components:BadNeck": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    **{
        name: text.encode()
        for name, text in {
            "supplies is a number": with_changes(supplies=3),
            "fields is a list": with_changes(fields=[1]),
            "a field is a number": with_changes(fields={"width": 7}),
            "a type is text": field(type="int"),
            "an unknown type": field(type={"is": "colour"}),
            "a bound is text": field(type={"is": "int", "ge": "1"}),
            "a length is a fraction": field(type={"is": "str", "min_length": 0.5}),
            "a union of nothing": field(type={"is": "union", "of": []}),
            "a literal of nothing": field(type={"is": "literal", "values": []}),
            "a literal of mappings": field(type={"is": "literal", "values": [{"a": 1}]}),
            "a component of no kind": field(type={"is": "component", "kind": ["neck"]}),
            "gives is a number": with_changes(gives=7),
            "the name is a number": with_changes(name=7),
            "the kind is a list": with_changes(kind=["neck"]),
        }.items()
    },
}


def good(make_plugin: MakePlugin) -> list[EntryPoint]:
    """A plugin that nothing is wrong with."""
    known = stored(GoodNeck="neck/good_neck")
    return make_plugin("good", GOOD, module=CLASS.replace("{name}", "Good"), stored=known)


def others_go_on(registry: Registry) -> None:
    assert any(row["name"] == "good_neck" for row in component_rows("neck", registry))
    assert "good_neck" in json.dumps(kind_schema(registry, "neck", {}))
    assert isinstance(detector_rows(registry), list)


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_damaged_manifest_is_told_and_the_others_go_on(case: str, make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = [*make_plugin("bad"), *good(make_plugin)]
    (tmp_path / "zoo-bad" / "zoo_bad" / "registry.yaml").write_bytes(MANIFESTS[case])
    registry = Registry(points)
    record = registry.plugins.records["bad"]
    assert record.status in ("invalid", "incompatible")
    assert 0 < len(record.message) < 20_000
    others_go_on(registry)


@pytest.mark.parametrize("case", SCHEMAS)
def test_damaged_schemas_leave_out_their_component_alone(
    case: str, make_plugin: MakePlugin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        *make_plugin("bad", BAD, module=CLASS.replace("{name}", "Bad")),
        *good(make_plugin),
    ]
    (tmp_path / "zoo-bad" / "zoo_bad" / "schemas.json").write_bytes(SCHEMAS[case])
    registry = Registry(points)
    with caplog.at_level(logging.WARNING, "detzoo.plugins"):
        others_go_on(registry)
    told = [message for message in caplog.messages if "bad/bad_neck" in message]
    known = "bad_neck" in json.dumps(kind_schema(registry, "neck", {}))
    assert known or told  # read from the class, or left out with a word
