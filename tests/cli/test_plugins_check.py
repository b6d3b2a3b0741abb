"""``detzoo plugins check NAME``: the conformance kit from the command line, output and exit code whole."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from detzoo.plugins.conformance import Conformance
from detzoo.plugins.registry import Registry
from tests.forked import run_forked

Run: TypeAlias = Callable[..., tuple[int, str, str]]
TOY_ZOO = Path(__file__).parents[1] / "toy_zoo"
RECIPES_TOO = "toy: 1 of its recipes left out; --all-recipes builds and runs them too\n"


def told(registry: Registry, conformance: Conformance) -> None:
    """The toy plugin's manifest says something else under ``conformance``."""
    record = registry.plugins.records["toy"]
    assert record.manifest is not None
    record.manifest = dataclasses.replace(record.manifest, conformance=conformance)


@pytest.fixture
def few_recipes(toy_registry: Registry) -> Registry:
    told(toy_registry, Conformance(recipes=()))
    return toy_registry


@pytest.mark.parametrize("name", ["toy", "toy-zoo"])
def test_a_plugin_without_a_fault_by_its_name_and_by_its_distribution(name: str, run: Run) -> None:
    # 10 of the plugin, 3 of anchors, 8 of a backbone, 11 of a head, 4 of a transform, 11 of each of two recipes
    assert run("plugins", "check", name) == (0, "toy: 61 of 61 checks passed\n", "")


def test_a_plugin_named_twice_is_checked_once(run: Run, few_recipes: Registry) -> None:
    code, out, err = run("plugins", "check", "toy", "toy-zoo")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "toy: 39 of 39 checks passed",
        "toy: 2 of its recipes left out; --all-recipes builds and runs them too",
    ]


def test_all_recipes_of_nothing(run: Run) -> None:
    assert run("plugins", "check", "--all-recipes") == (
        2, "", "error: --all-recipes belongs to the conformance kit: name the plugins to check\n",
    )  # fmt: skip


def copied(folder: Path, changes: dict[str, tuple[str, str]]) -> Path:
    """The toy plugin with a few lines changed, by file, as ``sys.path`` would hold it."""
    shutil.copytree(TOY_ZOO, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in changes.items():
        path = folder / "toy_zoo" / name
        text = path.read_text()
        assert text.count(old) == 1, name
        path.write_text(text.replace(old, new))
    return folder


def process(site: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``detzoo`` in a process of its own: pytest adds lines of its own to failed assertions of the kit."""
    environment = os.environ | {"PYTHONPATH": str(site), "DETZOO_PLUGINS": "toy"}
    done = run_forked("-m", "detzoo", *arguments, environment=environment)
    return done.returncode, done.stdout, done.stderr


def test_findings_say_what_was_expected_what_came_and_where_it_is_explained(tmp_path: Path) -> None:
    site = copied(
        tmp_path / "site",
        {
            "registry.yaml": ("hooks: [detzoo_cli]\n", "conformance: {recipes: []}\n"),
            "components.py": ("FeatureSpec(channels, float(name[1:]))", "FeatureSpec(channels + 1, float(name[1:]))"),
        },
    )
    assert process(site, "plugins", "check", "toy") == (
        1,
        "- toy: hooks_are_implemented (failed)\n"
        "    expected: The manifest lists exactly the hooks that the module implements, so that others need not import "
        "it.\n"
        "    came: the manifest lists the hooks [], the module implements ['detzoo_cli']\n"
        "    see: docs/plugins.md#manifest-checks\n"
        "- backbone toy/toy_backbone: declared_maps (failed)\n"
        "    expected: Names, order, channels, strides and, of a neck, sizes in ``out`` are those of real outputs, at "
        "every size.\n"
        "    came: s8 has 12 channels, out declares 13\n"
        "    see: docs/plugins.md#backbone-checks\n"
        "toy: 37 of 39 checks passed\n"
        "toy: 2 of its recipes left out; --all-recipes builds and runs them too\n",
        "",
    )


@pytest.mark.slow  # a process that imports torch, as the test above
def test_a_cause_is_told_once(tmp_path: Path) -> None:
    site = copied(tmp_path / "site", {"components.py": ("class ToyHead", "class ToyHeader")})
    code, out, err = process(site, "plugins", "check", "toy")
    lines = out.splitlines()
    assert (code, err) == (1, "")
    cause = next(line for line in lines if line.startswith("    came: ") and "ToyHead" in line)
    assert lines.count(cause) == 1
    also = lines[lines.index(cause) + 2]
    assert also.startswith("    the same came to toy: schemas_are_synced, anchors toy/toy_anchors: anchors, ")


def test_a_plugin_whose_manifest_cannot_be_used(tmp_path: Path) -> None:
    site = copied(tmp_path / "site", {"registry.yaml": ("hooks: [detzoo_cli]", "hoks: [detzoo_cli]")})
    code, out, err = process(site, "plugins", "check", "toy")
    message = (
        f'{site}/toy_zoo/registry.yaml:2: hoks: unknown key "hoks" of the manifest; did you mean "hooks"? '
        "allowed: api, components, conformance, converters, detectors, elsewhere, hooks, kinds"
    )
    assert (code, err) == (1, "")
    assert out.splitlines()[:8] == [
        "- toy: status (failed)",
        "    expected: The plugin is activated without an error and without a conflict.",
        f"    came: the plugin is invalid: {message}",
        "    see: docs/plugins.md#manifest-checks",
        "- toy: every_kind_has_its_interface (failed)",
        "    expected: Every kind that it brings is an abstract class whose ``kind`` is that name; its module of "
        "checks holds some.",
        f"    came: the manifest cannot be used: {message}",
        "    see: docs/plugins.md#manifest-checks",
    ]
    assert out.splitlines()[-1] == "toy: 3 of 11 checks passed"  # the three of its import, which is fine


def test_what_is_expected_to_fail_what_is_skipped_and_what_is_left_out(run: Run, toy_registry: Registry) -> None:
    told(
        toy_registry,
        Conformance(
            examples={"transform/toy_noise": {"strength": 300}},  # more than its schema allows
            expected_failures={
                "transform/toy_noise": {
                    name: "made up"
                    for name in ("outputs", "draws_are_declared", "input_is_not_changed", "same_seed_same_result")
                }
            },
            packages={"head/toy_head": "no_such_package"},
            recipes=("toy_child",),
        ),
    )
    ending = "of 61 checks passed, 4 failed as expected, 13 skipped: the package no_such_package is not installed\n"
    summary = f"toy: 33 {ending.replace('61', '50')}"
    assert run("plugins", "check", "toy") == (0, summary + RECIPES_TOO, "")
    assert run("plugins", "check", "toy", "--all-recipes") == (0, f"toy: 44 {ending}", "")


def test_a_failure_that_does_not_come_is_one(run: Run, toy_registry: Registry) -> None:
    told(toy_registry, Conformance(expected_failures={"plugin": {"status": "made up"}}, recipes=("toy_child",)))
    assert run("plugins", "check", "toy") == (
        1,
        "- toy: status (unexpected_pass)\n"
        "    expected: The plugin is activated without an error and without a conflict.\n"
        "    came: it passes although it was expected to fail: made up\n"
        "    see: docs/plugins.md#manifest-checks\n"
        "toy: 49 of 50 checks passed\n" + RECIPES_TOO,
        "",
    )


def test_json_is_every_result_and_nothing_else(run: Run, few_recipes: Registry) -> None:
    code, out, err = run("plugins", "check", "toy", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == ["toy"]
    assert len(found["toy"]) == 39
    assert found["toy"][0] == {
        "component": "toy",
        "check": "status",
        "group": "manifest",
        "status": "passed",
        "message": "",
        "expected": "The plugin is activated without an error and without a conflict.",
        "page": "docs/plugins.md#manifest-checks",
    }


@pytest.mark.parametrize(
    ("name", "hint"), [("tyo", 'did you mean "toy"? '), ("toy-zo", 'did you mean "toy-zoo" or "toy"? '), ("qqq", "")]
)
def test_an_unknown_name_gets_the_nearest(name: str, hint: str, run: Run) -> None:
    allowed = "allowed: core, detzoo, toy, toy-zoo"
    assert run("plugins", "check", "toy", name) == (2, "", f'error: unknown plugin "{name}"; {hint}{allowed}\n')


def test_an_expected_failure_of_no_check(run: Run, toy_registry: Registry) -> None:
    told(toy_registry, Conformance(expected_failures={"recipe/toy_child": {"loss_is_finit": "made up"}}))
    code, out, err = run("plugins", "check", "toy")
    manifest = TOY_ZOO / "toy_zoo" / "registry.yaml"
    assert (code, out) == (2, "")
    assert err == (
        f"error: {manifest}:1: conformance.expected_failures.recipe/toy_child.loss_is_finit: unknown check "
        '"loss_is_finit"; did you mean "loss_is_finite" or "loss_without_objects_is_finite"? allowed: '
        "batch_equals_singles, gradient_reaches_every_parameter, inputs_are_not_changed, "
        "loss_belongs_to_the_graph, loss_is_finite, "
        "loss_without_objects_is_finite, predicting_changes_nothing, results_are_in_original_pixels, "
        "results_are_taken_by_pycocotools, same_image_same_detections, state_dict_round_trip\n"
    )
