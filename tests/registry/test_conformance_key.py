"""``conformance:`` of a manifest: what it may hold, and every mistake in it with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detzoo.errors import PluginError
from detzoo.plugins.conformance import Conformance
from detzoo.plugins.entries import SCHEMAS
from detzoo.plugins.manifest import read_manifest

MANIFEST = """\
api: 1
components:
  - mine.neck:Blur
detectors:
  mine_small: {summary: a small one}
conformance:
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "registry.yaml"
    path.write_text(text)
    blur = {"kind": "neck", "name": "blur", "summary": "a blur", "supplies": [], "fields": {}, "gives": [], "needs": []}
    path.with_name(SCHEMAS).write_text(json.dumps({"mine.neck:Blur": blur}))
    return path


def test_without_it_nothing_is_told(tmp_path: Path) -> None:
    text = MANIFEST.replace("conformance:\n", "")
    assert read_manifest(written(tmp_path, text), "mine").conformance == Conformance({}, {}, {}, None)
    assert read_manifest(written(tmp_path, f"{text}conformance: {{}}\n"), "mine").conformance == Conformance(
        {}, {}, {}, None
    )
    none = read_manifest(written(tmp_path, f"{text}conformance: {{recipes: []}}\n"), "mine").conformance
    assert none.recipes == ()  # none at all, which is not the same as all of them


def test_everything_it_may_hold(tmp_path: Path) -> None:
    told = read_manifest(
        written(
            tmp_path,
            MANIFEST
            + """\
  examples:
    neck/blur: {kernel: 5, inner: {type: box, sizes: [1, 2.5]}, path: null}
  expected_failures:
    neck/blur: {declared_maps: because}
    recipe/mine_small: {loss_is_finite: it is not}
    plugin: {import_is_light: it is heavy}
  packages: {neck/blur: scipy}
  small: {neck/blur: {kernel: 1}}
  recipes: [mine_small]
""",
        ),
        "mine",
    ).conformance
    assert told == Conformance(
        examples={"neck/blur": {"kernel": 5, "inner": {"type": "box", "sizes": [1, 2.5]}, "path": None}},
        expected_failures={
            "neck/blur": {"declared_maps": "because"},
            "recipe/mine_small": {"loss_is_finite": "it is not"},
            "plugin": {"import_is_light": "it is heavy"},
        },
        packages={"neck/blur": "scipy"},
        recipes=("mine_small",),
        small={"neck/blur": {"kernel": 1}},
    )


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("  example: {}\n", 7, 'conformance.example: unknown key "example" of conformance; did you mean "examples"? '
         "allowed: examples, expected_failures, packages, recipes, small"),
        ("  examples: {neck/blurr: {kernel: 5}}\n", 7, 'conformance.examples.neck/blurr: unknown component '
         '"neck/blurr"; did you mean "neck/blur"? allowed: neck/blur'),
        ("  examples: {neck/blur: 5}\n", 7, "conformance.examples.neck/blur: found 5; expected a mapping, each value "
         "anything"),
        ("  expected_failures:\n    neck/blur: {declared_maps: ''}\n", 8,
         'conformance.expected_failures.neck/blur.declared_maps: found ""; expected text'),
        ("  expected_failures:\n    recipe/mine_smal: {outputs: because}\n", 8,
         'conformance.expected_failures.recipe/mine_smal: unknown component "recipe/mine_smal"; did you mean '
         '"recipe/mine_small"? allowed: neck/blur, plugin, recipe/mine_small'),
        ("  packages: {recipe/mine_small: timm}\n", 7, 'conformance.packages.recipe/mine_small: unknown component '
         '"recipe/mine_small"; allowed: neck/blur'),
        ("  packages: {neck/blur: scikit-learn}\n", 7, 'conformance.packages.neck/blur: found "scikit-learn"; expected '
         "the name by which the package is imported, as sklearn"),
        ("  small: {neck/blurr: {kernel: 1}}\n", 7, 'conformance.small.neck/blurr: unknown component "neck/blurr"; '
         'did you mean "neck/blur"? allowed: neck/blur'),
        ("  recipes: [mine_small, mine_big]\n", 7, 'conformance.recipes[1]: unknown recipe "mine_big"; allowed: '
         "mine_small"),
    ],
)  # fmt: skip
def test_mistakes(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, MANIFEST + text)
    with pytest.raises(PluginError) as caught:
        read_manifest(path, "mine")
    assert str(caught.value) == f"{path}:{line}: {message}"
