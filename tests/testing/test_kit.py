"""The conformance kit: it passes what is right, and says what is wrong with what is not."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.interfaces import Backbone, Matcher, Suppress
from detzoo.plugins import manager
from detzoo.plugins.conformance import Conformance
from detzoo.plugins.registry import Registry
from detzoo.testing import (
    Check,
    CheckedComponent,
    CheckResult,
    ConformanceError,
    check_plugin,
    checks,
    parametrize_with_checks,
    recipes_left_out,
)
from detzoo.testing import backbone as backbone_checks
from detzoo.testing import matcher as matcher_checks
from detzoo.testing import module as module_checks
from detzoo.testing import postprocess as postprocess_checks
from detzoo.testing.catalogue import DETECTOR_CHECKS, KIND_CHECKS, PLUGIN_CHECKS
from detzoo.testing.subject import Subject
from detzoo.types import Assignment, Candidates, FeatureMaps, FeatureSpec, Predictions, Targets


@parametrize_with_checks("core", slow=("export",))  # tests/export exports whole detectors
def test_core_conforms(component: CheckedComponent, check: Check) -> None:
    check(component)


def test_every_plugin_check_and_every_kind_is_collected() -> None:
    pairs = list(checks("core"))
    assert [str(check) for component, check in pairs if component.id == "core"] == [
        spec.partition(":")[2] for spec in PLUGIN_CHECKS
    ]
    assert len(pairs) > 150
    kinds = {component.id.partition(" ")[0] for component, _ in pairs} - {"core"}
    assert kinds <= {"recipe", *KIND_CHECKS}


def test_every_check_exists_and_explains_itself() -> None:
    for specs in (PLUGIN_CHECKS, DETECTOR_CHECKS, *KIND_CHECKS.values()):
        for spec in specs:
            file, _, name = spec.partition(":")
            assert Check("numeric", file, name).explanation.endswith("."), spec


def test_an_unknown_plugin_is_named() -> None:
    with pytest.raises(AssertionError, match=r'^no plugin "sdd" is installed; there are .*core, '):
        list(checks("sdd"))


def told(registry: Registry, **conformance: Any) -> None:
    """The toy plugin's manifest says something else under ``conformance``."""
    record = registry.plugins.records["toy"]
    assert record.manifest is not None
    record.manifest = replace(record.manifest, conformance=Conformance(**conformance))


def test_an_expected_failure_of_no_check_is_refused(toy_registry: Registry) -> None:
    told(toy_registry, expected_failures={"head/toy_head": {"output": "misspelt"}})
    with pytest.raises(ConformanceError) as caught:
        check_plugin("toy", groups=())
    record = toy_registry.plugins.records["toy"]
    assert record.manifest is not None
    assert str(caught.value) == (
        f"{record.manifest.document.file}:1: conformance.expected_failures.head/toy_head.output: "
        'unknown check "output"; did you mean "outputs"? allowed: batch_equals_singles, decoding_is_finite, '
        "gradient_reaches_every_parameter, head_gives_what_it_declares, head_leaves_the_number_of_images_free, "
        "head_on_maps_of_odd_sizes, input_is_not_changed, moves_between_dtypes, outputs, "
        "same_input_same_output, same_seed_same_weights, state_dict_round_trip, targets_change_aux_alone"
    )


def test_results_of_check_plugin(toy_registry: Registry) -> None:
    results = check_plugin("toy", groups=("import",))
    expected = "Importing the plugin's module loads no torch, torchvision, cv2, timm, accelerate or pycocotools."
    page = "docs/plugins.md#manifest-checks"
    assert results[0] == CheckResult("toy", "import_is_light", "import", "passed", "", expected, page)
    assert [result.check for result in results[1:]] == ["import_draws_no_random_number", "import_opens_no_connection"]
    told(toy_registry, expected_failures={"plugin": {"import_is_light": "we say so"}})
    results = check_plugin("toy", groups=("import",), on_fail="return")
    assert [(result.status, result.bad) for result in results] == [
        ("unexpected_pass", True),
        ("passed", False),
        ("passed", False),
    ]
    with pytest.raises(ConformanceError) as caught:
        check_plugin("toy", groups=("import",))
    assert str(caught.value) == (
        "plugin toy: 1 of 3 checks failed\n"
        "- toy: import_is_light (unexpected_pass)\n"
        f"    expected: {expected}\n"
        "    came: it passes although it was expected to fail: we say so\n"
        f"    see: {page}"
    )


def test_what_the_manifest_says_reaches_the_results(toy_registry: Registry) -> None:
    told(
        toy_registry,
        examples={"transform/toy_noise": {"strength": 300}},  # more than its schema allows
        expected_failures={"transform/toy_noise": {"outputs": "noise of 300 grey values is too strong"}},
        packages={"head/toy_head": "no_such_package"},
        recipes=(),
    )
    results = check_plugin("toy", groups=("interface", "numeric", "detector"), on_fail="return")
    noise = [(one.check, one.status, one.message) for one in results if one.component == "transform toy/toy_noise"]
    refused = "strength: found 300; expected a whole number >= 0 and <= 255"
    assert noise == [
        ("outputs", "expected_failure", "noise of 300 grey values is too strong"),
        ("draws_are_declared", "failed", refused),
        ("input_is_not_changed", "failed", refused),
        ("same_seed_same_result", "failed", refused),
    ]
    head = {(one.status, one.message) for one in results if one.component == "head toy/toy_head"}
    assert head == {("skipped", "the package no_such_package is not installed")}
    assert {one.group for one in results} == {"interface", "numeric"}


def test_marks_of_pytest(toy_registry: Registry) -> None:
    told(
        toy_registry,
        expected_failures={"plugin": {"import_is_light": "we say so"}},
        packages={"head/toy_head": "no_such_package"},
    )
    marks: dict[str, list[pytest.Mark]] = {
        case.id: [mark.mark for mark in case.marks]
        for case in parametrize_with_checks("toy", groups=("import", "interface")).args[1]
    }
    (expected,) = marks["toy: import_is_light"]
    assert (expected.name, expected.kwargs) == ("xfail", {"reason": "we say so", "strict": True})
    (skipped,) = marks["head toy/toy_head: outputs"]
    assert (skipped.name, skipped.kwargs) == ("skip", {"reason": "the package no_such_package is not installed"})
    assert marks["backbone toy/toy_backbone: declared_maps"] == []
    exported = parametrize_with_checks("toy", groups=("export",), slow=("export",)).args[1]
    assert {mark.mark.name for case in exported for mark in case.marks} == {"slow", "skip"}


def test_recipes_are_all_of_them_unless_the_manifest_names_some(toy_registry: Registry) -> None:
    def built() -> set[str]:
        return {component.id for component, check in checks("toy") if check.group == "detector"}

    assert built() == {"recipe toy/toy_detector", "recipe toy/toy_child"}
    assert recipes_left_out("toy") == ()
    told(toy_registry, recipes=("toy_child",))
    assert built() == {"recipe toy/toy_child"}
    assert recipes_left_out("toy") == ("toy_detector",)
    told(toy_registry, recipes=())
    assert built() == set()
    assert {component.id for component, _ in checks("toy", ["toy_detector"])} >= {"recipe toy/toy_detector"}


def subject(component: object) -> Subject:
    return Subject(component=component, rebuild=lambda seed: component)


class Good(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.out = {"s4": FeatureSpec(8, 4.0)}
        self.stem = nn.Conv2d(3, 8, 4, 4)

    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.stem(pixels)}


def test_a_good_backbone_passes() -> None:
    for check in (
        backbone_checks.check_declared_maps,
        backbone_checks.check_batch_equals_singles,
        backbone_checks.check_input_is_not_changed,
        backbone_checks.check_gradient_reaches_every_parameter,
        module_checks.check_moves_between_dtypes,
    ):
        check(subject(Good()))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ({"s4": FeatureSpec(9, 4.0)}, "s4 has 8 channels, out declares 9"),
        ({"s4": FeatureSpec(8, 8.0)}, "s4: 160 px of height became 40 cells, out declares stride 8.0"),
        ({"s8": FeatureSpec(8, 4.0)}, "out declares ['s8'], forward returns ['s4']"),
        ({}, "out is empty: declare the maps that forward returns"),
    ],
)
def test_wrong_declarations_are_found(out: dict[str, FeatureSpec], message: str) -> None:
    wrong = Good()
    wrong.out = out
    with pytest.raises(AssertionError) as caught:
        backbone_checks.check_declared_maps(subject(wrong))
    assert str(caught.value).splitlines()[0] == message


class WritesInPlace(Good):
    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.stem(pixels.clamp_(min=0))}


class LooksAtTheBatch(Good):
    def forward(self, pixels: Tensor) -> FeatureMaps:
        return {"s4": self.stem(pixels) - self.stem(pixels).mean()}


class HasAnIdleLayer(Good):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(2, 2)


class HidesATensor(Good):
    def __init__(self) -> None:
        super().__init__()
        self.table = torch.ones(3)


def test_faults_of_backbones_are_found() -> None:
    with pytest.raises(AssertionError, match=r"^the input changed in place: copy it before writing to it"):
        backbone_checks.check_input_is_not_changed(subject(WritesInPlace()))
    with pytest.raises(AssertionError, match=r"^image 0 alone and in a batch: they differ by"):
        backbone_checks.check_batch_equals_singles(subject(LooksAtTheBatch()))
    with pytest.raises(AssertionError, match=r"^forward: no gradient reaches idle\.weight; freeze it, drop it, or use"):
        backbone_checks.check_gradient_reaches_every_parameter(subject(HasAnIdleLayer()))
    with pytest.raises(AssertionError, match=r"^table is a plain tensor: \.to\(device\) leaves it behind"):
        module_checks.check_moves_between_dtypes(subject(HidesATensor()))


class MatchesPadding(Matcher):
    def forward(self, candidates: Candidates, targets: Targets, predictions: Predictions | None = None) -> Assignment:
        return Assignment(torch.full((len(targets.boxes), candidates.boxes.shape[1]), targets.boxes.shape[1] - 1))


def test_faults_of_matchers_are_found() -> None:
    with pytest.raises(AssertionError, match=r"^a candidate is positive for padding or for ignored ground truth"):
        matcher_checks.check_outputs(subject(MatchesPadding()))
    with pytest.raises(AssertionError, match=r"^an image without objects has candidates that are not BACKGROUND"):
        matcher_checks.check_without_ground_truth_all_is_background(subject(MatchesPadding()))


class ForgetsGroups(Suppress):
    def forward(self, boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor, iou: float | None = None) -> Tensor:
        from detzoo.ops.nms import nms_keep

        keep = nms_keep(boxes, scores, torch.zeros_like(group), iou=0.5, valid=valid)
        return torch.where(keep, scores, 0.0)


def test_suppression_across_classes_is_found() -> None:
    with pytest.raises(AssertionError, match=r"^a box of another group was suppressed"):
        postprocess_checks.check_suppress(subject(ForgetsGroups()))


def test_a_plugin_that_imports_a_heavy_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text("import pycocotools\n")  # of those, the one that is loaded at once
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    from detzoo.plugins.registry import get_registry
    from detzoo.testing.manifest import check_import_is_light

    record = manager.PluginRecord("heavy", "heavy_plugin", "heavy 1", status="ok")
    monkeypatch.setitem(get_registry().plugins.records, "heavy", record)
    with pytest.raises(AssertionError, match=r"^importing heavy_plugin loads pycocotools: import it inside the f"):
        check_import_is_light("heavy")
    monkeypatch.setitem(get_registry().plugins.records, "heavy", replace(record, module="gone_plugin"))
    with pytest.raises(AssertionError, match=r"^importing gone_plugin failed:\n +Traceback"):
        check_import_is_light("heavy")


def test_the_page_for_authors_explains_every_check() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    specs = {*PLUGIN_CHECKS, *DETECTOR_CHECKS, *(spec for specs in KIND_CHECKS.values() for spec in specs)}
    assert len(specs) > 85
    for spec in specs:
        file, _, name = spec.partition(":")
        check = Check("numeric", file, name)
        title = check.page.removeprefix("docs/plugins.md#").removesuffix("-checks")
        section = page.partition(f"\n### {title} checks\n")[2].partition("\n### ")[0]
        assert f"| `{name}` | {check.explanation.replace('``', '`')} |\n" in section, spec
    assert page.count("\n| `") >= len(specs)
