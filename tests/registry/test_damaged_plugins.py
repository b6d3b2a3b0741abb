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
from detzoo.recipes.editor_schema import recipe_file_schema
from tests.registry.test_discovery import MANIFEST, NECK

MakePlugin = Callable[..., list[EntryPoint]]

CLASS = """
from detzoo.interfaces import Neck
class Neck(Neck):
    def __init__(self, *, width: int = 8) -> None:
        super().__init__()
"""
MANIFESTS: dict[str, bytes] = {
    "empty": b"",
    "a number": b"7\n",
    "a list": b"[1, 2]\n",
    "cut": b'api: 1\nplugin: bad\ncomponents: [{kind: neck, na',
    "binary": bytes(range(256)) * 20,
    "UTF-16": "api: 1\nplugin: bad\n".encode("utf-16"),
    "Latin-1": "api: 1\nplugin: bad\nhooks: [caf\xe9]\n".encode("latin-1"),
    "huge": b"# " + b"x" * 5_000_000,
    "deep": b"api: 1\nplugin: bad\nhooks: " + b"[" * 5000,
    "a long number": b"api: " + b"9" * 5000 + b"\nplugin: bad\n",
    "an infinite api": b"api: 1e400\nplugin: bad\n",
    "api as text": b"api: one\nplugin: bad\n",
    "another name": b"api: 1\nplugin: other\n",
    "the name as a list": b"api: 1\nplugin: [bad]\n",
    "control characters": b"api: 1\nplugin: \x07\n",
    "many unknown keys": b"api: 1\nplugin: bad\n" + b"".join(b"k%d: 1\n" % i for i in range(2000)),
    **{
        f"{key} is {text}": f"api: 1\nplugin: bad\n{key}: {text}\n".encode()
        for key in ("kinds", "components", "detectors", "converters", "hooks", "elsewhere", "conformance")
        for text in ("7", "text", "[7]", "[[]]", "{a: 7}", "{a: [b]}", "[{kind: [neck], name: {a: 1}, target: 3}]", ".nan")
    },
}
FIELD = {"type": {"is": "int"}, "default": 8}
SCHEMA = {"supplies": [], "fields": {"width": FIELD}, "gives": [], "needs": []}


def stored(**changes: Any) -> str:
    return json.dumps({"neck/bad_neck": SCHEMA | changes})


def field(**changes: Any) -> str:
    return stored(fields={"width": FIELD | changes})


SCHEMAS: dict[str, bytes] = {
    "binary": bytes(range(256)),
    "cut": stored()[:-9].encode(),
    "deep": b"[" * 200_000,
    "a long number": b'{"neck/bad_neck": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    **{
        name: text.encode()
        for name, text in {
            "supplies is a number": stored(supplies=3),
            "fields is a list": stored(fields=[1]),
            "a field is a number": stored(fields={"width": 7}),
            "a type is text": field(type="int"),
            "an unknown type": field(type={"is": "colour"}),
            "a bound is text": field(type={"is": "int", "ge": "1"}),
            "a length is a fraction": field(type={"is": "str", "min_length": 0.5}),
            "a union of nothing": field(type={"is": "union", "of": []}),
            "a literal of nothing": field(type={"is": "literal", "values": []}),
            "a literal of mappings": field(type={"is": "literal", "values": [{"a": 1}]}),
            "a component of no kind": field(type={"is": "component", "kind": ["neck"]}),
            "gives is a number": stored(gives=7),
        }.items()
    },
}


def others_go_on(registry: Registry) -> None:
    assert any(row["name"] == "good_neck" for row in component_rows("neck", registry))
    assert any("good_neck" in json.dumps(one) for one in recipe_file_schema(registry)["$defs"]["neck"]["anyOf"])
    assert isinstance(detector_rows(registry), list)


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_damaged_manifest_is_told_and_the_others_go_on(case: str, make_plugin: MakePlugin, tmp_path: Path) -> None:
    points = [*make_plugin("bad"), *make_plugin("good", MANIFEST + NECK % "good_neck", module=CLASS)]
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
        *make_plugin("bad", MANIFEST + NECK % "bad_neck", module=CLASS),
        *make_plugin("good", MANIFEST + NECK % "good_neck", module=CLASS),
    ]
    (tmp_path / "zoo-bad" / "zoo_bad" / "schemas.json").write_bytes(SCHEMAS[case])
    registry = Registry(points)
    with caplog.at_level(logging.WARNING, "detzoo.plugins"):
        others_go_on(registry)
    told = [message for message in caplog.messages if "bad/bad_neck" in message]
    known = "bad_neck" in json.dumps(recipe_file_schema(registry)["$defs"]["neck"])
    assert known or told  # read from the class, or left out with a word
