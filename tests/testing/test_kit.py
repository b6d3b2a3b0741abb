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
from detzoo.testing import (
    Check,
    CheckResult,
    Component,
    ConformanceError,
    check_plugin,
    checks,
    parametrize_with_checks,
)
from detzoo.testing import backbone as backbone_checks
from detzoo.testing import matcher as matcher_checks
from detzoo.testing import module as module_checks
from detzoo.testing import postprocess as postprocess_checks
from detzoo.testing.kit import DETECTOR_CHECKS, KIND_CHECKS, PLUGIN_CHECKS
from detzoo.testing.subject import Subject
from detzoo.types import Assignment, Candidates, FeatureMaps, FeatureSpec, Predictions, Targets

EXPECTED = {
    "suppress core/none: suppress": "it suppresses nothing: for heads that give one box per object",
    **{
        f"proposer core/precomputed: {check}": "without a file of proposals it knows no picture"
        for check in ("outputs", "input_is_not_changed", "same_picture_same_regions")
    },
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "anchors core/grid": {"sizes": [[32.0], [64.0], [128.0]], "ratios": [1.0, 2.0]},
    "backbone core/inception_resnet_v2": {"levels": ["s8"]},
    "backbone core/nasnet": {"filters": 4},
    "backbone core/timm": {"model": "resnet18"},
    "normaliser core/fixed": {"value": 8.0},
    # the recipes that use these are large
    "proposer core/precomputed": {"path": None},
    "roi_pool core/ps_roi_align": {"sampling_ratio": 2},
    "roi_pool core/ps_roi_pool": {"rounding": "before"},
    "roi_pool core/roi_align": {"sampling_ratio": 2},
    "roi_pool core/roi_pool": {"output": [6, 6]},
}


@parametrize_with_checks("core", expected_failures=EXPECTED, examples=EXAMPLES)
def test_core_conforms(component: Component, check: Check) -> None:
    if component.id.removeprefix("backbone core/") in {"timm", "nasnet", "inception_resnet_v2"}:
        pytest.importorskip("timm")
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
    for specs in (PLUGIN_CHECKS, *KIND_CHECKS.values()):
        for spec in specs:
            file, _, name = spec.partition(":")
            assert Check("numeric", file, name).explanation.endswith("."), spec


def test_an_unknown_plugin_is_named() -> None:
    with pytest.raises(AssertionError, match=r'^no plugin "sdd" is installed; there are core'):
        list(checks("sdd"))


def test_expected_failures_need_a_reason_and_a_check() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_plugin("core", expected_failures={"suppress core/none: suppress": " "}, groups=())
    assert str(caught.value) == 'expected_failures["suppress core/none: suppress"] needs a reason'
    with pytest.raises(
        ConformanceError, match=r'^expected_failures names "import_is_ligth", which is no check of core; '
    ):
        check_plugin("core", expected_failures={"import_is_ligth": "misspelt"}, groups=())


def test_results_of_check_plugin() -> None:
    results = check_plugin("core", groups=("import",))
    expected = "Importing the plugin's module loads no torch, torchvision, cv2, timm, accelerate or pycocotools."
    page = "docs/plugins.md#manifest-checks"
    assert results[0] == CheckResult("core", "import_is_light", "import", "passed", "", expected, page)
    assert [result.check for result in results[1:]] == ["import_draws_no_random_number", "import_opens_no_connection"]
    results = check_plugin(
        "core", groups=("import",), expected_failures={"import_is_light": "we say so"}, on_fail="return"
    )
    assert [result.status for result in results] == ["unexpected_pass", "passed", "passed"]
    with pytest.raises(ConformanceError) as caught:
        check_plugin("core", groups=("import",), expected_failures={"import_is_light": "we say so"})
    assert str(caught.value) == (
        "plugin core: 1 of 3 checks failed\n"
        "- core: import_is_light (unexpected_pass)\n"
        f"    expected: {expected}\n"
        "    came: it passes although it was expected to fail: we say so\n"
        f"    see: {page}"
    )


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
    def forward(self, boxes: Tensor, scores: Tensor, group: Tensor, valid: Tensor) -> Tensor:
        from detzoo.ops.nms import nms_keep

        keep = nms_keep(boxes, scores, torch.zeros_like(group), iou=0.5, valid=valid)
        return torch.where(keep, scores, 0.0)


def test_suppression_across_classes_is_found() -> None:
    with pytest.raises(AssertionError, match=r"^a box of another group was suppressed"):
        postprocess_checks.check_suppress(subject(ForgetsGroups()))


def test_a_plugin_that_imports_torch_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text("import torch\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    from detzoo.registry import get_registry
    from detzoo.testing.manifest import check_import_is_light

    record = manager.PluginRecord("heavy", "heavy_plugin", "heavy 1", status="ok")
    monkeypatch.setitem(get_registry().plugins.records, "heavy", record)
    with pytest.raises(AssertionError, match=r"^importing heavy_plugin loads torch: import it inside the functions"):
        check_import_is_light("heavy")
    monkeypatch.setitem(get_registry().plugins.records, "heavy", replace(record, module="gone_plugin"))
    with pytest.raises(AssertionError, match=r"^importing gone_plugin failed:\n +Traceback"):
        check_import_is_light("heavy")


def test_the_page_for_authors_explains_every_check() -> None:
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    specs = {*PLUGIN_CHECKS, *DETECTOR_CHECKS, *(spec for specs in KIND_CHECKS.values() for spec in specs)}
    assert len(specs) > 90
    for spec in specs:
        file, _, name = spec.partition(":")
        check = Check("numeric", file, name)
        title = check.page.removeprefix("docs/plugins.md#").removesuffix("-checks")
        section = page.partition(f"\n### {title} checks\n")[2].partition("\n### ")[0]
        assert f"| `{name}` | {check.explanation.replace('``', '`')} |\n" in section, spec
    assert page.count("\n| `") >= len(specs)
