"""One generator of (component, check) pairs, behind ``check_plugin`` and ``parametrize_with_checks``."""

from __future__ import annotations

import importlib
import inspect
import json
import random
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from detzoo.errors import DetzooError

if TYPE_CHECKING:
    import pytest

    from detzoo.plugins.manifest import Entry
    from detzoo.testing.detector import Trial
    from detzoo.testing.subject import Subject

Group: TypeAlias = Literal["manifest", "import", "interface", "numeric", "detector"]
Examples: TypeAlias = Mapping[str, Mapping[str, Any]]
Status: TypeAlias = Literal["passed", "failed", "expected_failure", "unexpected_pass"]

_MODULE: Final = ("module:same_seed_same_weights", "module:state_dict_round_trip", "module:moves_between_dtypes")
_MAPS: Final = (
    "backbone:declared_maps",
    "backbone:same_input_same_output",
    "backbone:batch_equals_singles",
    "backbone:input_is_not_changed",
    "backbone:gradient_reaches_every_parameter",
    *_MODULE,
)
PLUGIN_CHECKS: Final = (
    "manifest:status",
    "manifest:every_target_is_of_its_kind",
    "manifest:schemas_are_synced",
    "manifest:every_recipe_resolves",
    "manifest:hooks_are_implemented",
    "manifest:manifest_lies_in_the_package",
    "manifest:import_is_light",
    "manifest:import_draws_no_random_number",
    "manifest:import_opens_no_connection",
)
KIND_CHECKS: Final[dict[str, tuple[str, ...]]] = {
    "backbone": _MAPS,
    "neck": _MAPS,
    "head": (
        "head:outputs",
        "head:same_input_same_output",
        "head:batch_equals_singles",
        "head:input_is_not_changed",
        "head:gradient_reaches_every_parameter",
        "head:decoding_is_finite",
        *_MODULE,
    ),
    "matcher": (
        "matcher:outputs",
        "matcher:takes_the_empty_case",
        "matcher:without_ground_truth_all_is_background",
        "matcher:one_box_finds_a_candidate",
        "matcher:invalid_candidates_are_ignored",
        "matcher:ignored_ground_truth_is_never_positive",
        "matcher:padding_changes_nothing",
        "matcher:batch_equals_singles",
        "matcher:input_is_not_changed",
    ),
    "sampler": ("sampling:sampler_only_ignores", "sampling:sampler_takes_the_empty_case"),
    "miner": ("sampling:miner_chooses_among_the_offered", "sampling:miner_takes_the_empty_case"),
    "normaliser": ("sampling:normaliser_is_never_zero", *_MODULE),
    "loss": (
        "loss:accepts_is_declared",
        "loss:every_ground_truth_gives_finite_terms",
        "loss:without_candidates_terms_are_connected_zeros",
        "loss:normaliser_divides_the_terms",
        "loss:padding_changes_nothing",
        "loss:input_is_not_changed",
        *_MODULE,
    ),
    "class_loss": ("loss:class_loss",),
    "box_loss": ("loss:box_loss", "loss:box_loss_takes_the_empty_case"),
    "postprocess": (
        "postprocess:outputs",
        "postprocess:same_input_same_output",
        "postprocess:keeps_to_its_limit",
        "postprocess:nothing_is_found_in_nothing",
        "postprocess:invalid_candidates_give_nothing",
        "postprocess:batch_equals_singles",
        "postprocess:input_is_not_changed",
        *_MODULE,
    ),
    "suppress": ("postprocess:suppress", "postprocess:suppress_takes_the_empty_case"),
    "anchors": ("geometry:anchors", "geometry:anchors_move_with_the_cell", "module:moves_between_dtypes"),
    "box_coder": (
        "geometry:decode_inverts_encode",
        "geometry:coder_broadcasts",
        "geometry:coder_takes_the_empty_case",
        "module:moves_between_dtypes",
    ),
    "roi_pool": (
        "roi_pool:outputs",
        "roi_pool:takes_the_empty_case",
        "roi_pool:invalid_regions_are_harmless",
        "roi_pool:gradient_reaches_the_maps",
        "roi_pool:batch_equals_singles",
        "roi_pool:input_is_not_changed",
        "module:moves_between_dtypes",
    ),
    "proposals": (
        "proposals:outputs",
        "proposals:every_ground_truth_gives_finite_terms",
        "proposals:gradient_reaches_every_parameter",
        "proposals:batch_equals_singles",
        "proposals:input_is_not_changed",
        *_MODULE,
    ),
    "region_head": (
        "region_head:outputs",
        "region_head:batch_equals_singles",
        "region_head:input_is_not_changed",
        "region_head:gradient_reaches_every_parameter",
        *_MODULE,
    ),
    "region_classifier": ("region_fit:classifier", *_MODULE),
    "region_regressor": ("region_fit:regressor", *_MODULE),
    "proposer": ("proposer:outputs", "proposer:input_is_not_changed", "proposer:same_picture_same_regions"),
    "transform": ("transform:outputs", "transform:input_is_not_changed", "transform:same_seed_same_result"),
}
"""``file:check`` for every kind; a kind that is missing here is looked at by the checks of the manifest alone."""
DETECTOR_CHECKS: Final = (
    "detector:loss_is_finite",
    "detector:loss_without_objects_is_finite",
    "detector:gradient_reaches_every_parameter",
    "detector:inputs_are_not_changed",
    "detector:results_are_in_original_pixels",
    "detector:batch_equals_singles",
    "detector:results_are_taken_by_pycocotools",
    "detector:state_dict_round_trip",
)
_INTERFACE: Final = ("declared_maps", "outputs", "accepts_is_declared", "anchors", "moves_between_dtypes")


@dataclass(frozen=True)
class Component:
    """What is checked: a plugin as a whole, one of its components, or one of its recipes.

    Args:
        id: ``ssd``, ``head ssd/ssd``, ``recipe ssd/ssd300_vgg16_voc``.
        prepare: gives a check what it looks at.
    """

    id: str
    prepare: Callable[[], Any] = field(repr=False)

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class Check:
    """One check; call it with a component.

    Args:
        group: which part of the kit it belongs to.
        file: module of ``detzoo.testing`` that holds it.
        name: its function without ``check_``.
    """

    group: Group
    file: str
    name: str

    def __call__(self, component: Component) -> None:
        """Raise AssertionError where the component does not keep the contract."""
        function = getattr(importlib.import_module(f"detzoo.testing.{self.file}"), f"check_{self.name}")
        state = random.getstate()
        function(component.prepare())
        assert random.getstate() == state, "it drew from Python's global random generator"

    @property
    def explanation(self) -> str:
        """What it demands, in a sentence."""
        function = getattr(importlib.import_module(f"detzoo.testing.{self.file}"), f"check_{self.name}")
        return (inspect.getdoc(function) or "").partition("\n")[0]

    @property
    def page(self) -> str:
        """Where it is explained."""
        return f"docs/plugins.md#{self.file.replace('_', '-')}-checks"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Args:
        component: what was checked.
        check: the check's name.
        group: its group.
        status: ``expected_failure`` and ``unexpected_pass`` are about ``expected_failures``.
        message: why it failed, or the reason given for the expected failure.
        expected: what the check demands, in a sentence.
        page: where that is explained.
    """

    component: str
    check: str
    group: Group
    status: Status
    message: str = ""
    expected: str = ""
    page: str = ""

    def report(self) -> str:
        """The finding: which check of what, what was expected, what came, and the page that explains it."""
        came = self.message.replace("\n", "\n      ")
        return (
            f"- {self.component}: {self.check} ({self.status})\n"
            f"    expected: {self.expected}\n    came: {came}\n    see: {self.page}"
        )


class ConformanceError(DetzooError):
    """A plugin does not keep the contract; the message lists every failed check."""


def checks(
    plugin: str, examples: Examples | None = None, recipes: Collection[str] | None = None
) -> Iterator[tuple[Component, Check]]:
    """Every pair of a component of a plugin and a check that it must pass. Builds nothing, imports no plugin."""
    from detzoo.testing.manifest import record_of

    whole = Component(plugin, lambda: plugin)
    for spec in PLUGIN_CHECKS:
        yield whole, _check(spec, "import" if spec.startswith("manifest:import_") else "manifest")
    manifest = record_of(plugin).manifest
    if manifest is None:
        return
    for entry in manifest.entries:
        name = f"{entry.kind} {entry.id}"
        component = Component(name, _preparing(entry, json.dumps((examples or {}).get(name, {}), sort_keys=True)))
        for spec in KIND_CHECKS.get(entry.kind, ()):
            yield component, _check(spec, "interface" if spec.partition(":")[2] in _INTERFACE else "numeric")
    for name in manifest.detectors if recipes is None else recipes:
        recipe = f"{plugin}/{name}"
        component = Component(f"recipe {recipe}", _trying(recipe))
        for spec in DETECTOR_CHECKS:
            yield component, _check(spec, "detector")


def check_plugin(
    name: str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: Literal["raise", "return"] = "raise",
    groups: tuple[Group, ...] | None = None,
    examples: Examples | None = None,
    recipes: Collection[str] | None = None,
) -> list[CheckResult]:
    """Run every check on an installed plugin.

    Args:
        name: of its entry point; ``core`` for detzoo itself.
        expected_failures: reasons by ``"component: check"`` (``"head ssd/ssd: batch_equals_singles"``), or by the
            check's name for all components. A reason is a must; a check that passes in spite of it is a failure.
        on_fail: ``raise`` after the last check, listing all failures, or just ``return`` the results.
        groups: which groups to run; all by default.
        examples: values for parameters without default of components that no recipe uses, by component:
            ``{"backbone core/timm": {"model": "resnet18"}}``.
        recipes: names of the recipes that the group ``detector`` builds and runs; all by default.

    Raises:
        ConformanceError: something failed and ``on_fail`` is ``raise``.
    """
    reasons = _checked_reasons(name, expected_failures or {})
    results = [
        _run(component, check, _reason(reasons, component, check))
        for component, check in checks(name, examples, recipes)
        if groups is None or check.group in groups
    ]
    bad = [result for result in results if result.status in {"failed", "unexpected_pass"}]
    if bad and on_fail == "raise":
        lines = "\n".join(r.report() for r in bad)
        raise ConformanceError(f"plugin {name}: {len(bad)} of {len(results)} checks failed\n{lines}")
    return results


def parametrize_with_checks(
    plugin: str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    groups: tuple[Group, ...] | None = None,
    examples: Examples | None = None,
    recipes: Collection[str] | None = None,
) -> pytest.MarkDecorator:
    """Make a pytest test of every check: decorate ``def test_conformance(component, check): check(component)``.

    Args:
        plugin: as in ``check_plugin``.
        expected_failures: as in ``check_plugin``; they become strict xfails.
        groups: which groups to run; all by default.
        examples: as in ``check_plugin``.
        recipes: as in ``check_plugin``; split large ones off into a slow test.
    """
    import pytest

    reasons = _checked_reasons(plugin, expected_failures or {})
    cases = []
    for component, check in checks(plugin, examples, recipes):
        if groups is None or check.group in groups:
            reason = _reason(reasons, component, check)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            cases.append(pytest.param(component, check, id=f"{component}: {check}", marks=marks))
    return pytest.mark.parametrize(("component", "check"), cases)


def _check(spec: str, group: Group) -> Check:
    file, _, name = spec.partition(":")
    return Check(group, file, name)


def _checked_reasons(plugin: str, reasons: Mapping[str, str]) -> dict[str, str]:
    """Refuse reasons that are empty or belong to no check: a misspelt one would hide nothing and look as if it did."""
    known = {f"{component}: {check}" for component, check in checks(plugin)}
    known |= {str(check) for _, check in checks(plugin)}
    for key, reason in reasons.items():
        if key not in known:
            from detzoo.schema import nearest

            hint = nearest(key, known)
            raise ConformanceError(
                f'expected_failures names "{key}", which is no check of {plugin}; {hint}'.rstrip("; ")
            )
        if not reason.strip():
            raise ConformanceError(f'expected_failures["{key}"] needs a reason')
    return dict(reasons)


def _reason(reasons: Mapping[str, str], component: Component, check: Check) -> str | None:
    return reasons.get(f"{component}: {check}", reasons.get(str(check)))


def _run(component: Component, check: Check, reason: str | None) -> CheckResult:
    status: Status = "passed"
    message = ""
    try:
        check(component)
    except Exception as error:
        status, message = ("failed", _describe(error)) if reason is None else ("expected_failure", reason)
    else:
        if reason is not None:
            status, message = "unexpected_pass", f"it passes although it was expected to fail: {reason}"
    return CheckResult(component.id, check.name, check.group, status, message, check.explanation, check.page)


def _describe(error: Exception) -> str:
    if isinstance(error, AssertionError | DetzooError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"


def _preparing(entry: Entry, example: str) -> Callable[[], Subject]:
    return lambda: _subject(entry.plugin, entry.kind, entry.name, example).copied()


def _trying(recipe: str) -> Callable[[], Trial]:
    return lambda: _trial(recipe)


@lru_cache(maxsize=2)  # checks come component by component; detectors are large
def _trial(recipe: str) -> Trial:
    from detzoo.testing.detector import run_trial

    return run_trial(recipe)


@lru_cache(maxsize=2)  # checks come component by component; detectors are large
def _subject(plugin: str, kind: str, name: str, example: str) -> Subject:
    from detzoo.testing.examples import make_subject

    return make_subject(plugin, kind, name, json.loads(example))
