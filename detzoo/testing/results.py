"""Running the kit on a plugin: what came of every check, and how a finding reads."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from detzoo.errors import DetzooError
from detzoo.testing.catalogue import Group
from detzoo.testing.kit import Check, CheckedComponent, ConformanceError, checks

Status: TypeAlias = Literal["passed", "failed", "expected_failure", "unexpected_pass", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """What came of one check.

    Args:
        component: what was checked.
        check: the check's name.
        group: its group.
        status: ``expected_failure`` and ``unexpected_pass`` are about failures that the manifest expects.
        message: why it failed or was skipped, or the reason given for the expected failure.
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

    @property
    def bad(self) -> bool:
        """Whether the plugin must be changed for it; a failure that is expected and does not come is one too."""
        return self.status in ("failed", "unexpected_pass")

    def report(self) -> str:
        """The finding: which check of what, what was expected, what came, and the page that explains it."""
        came = self.message.replace("\n", "\n      ")
        return (
            f"- {self.component}: {self.check} ({self.status})\n"
            f"    expected: {self.expected}\n    came: {came}\n    see: {self.page}"
        )


def findings(results: Iterable[CheckResult]) -> list[str]:
    """A report for each cause: the first check that met it, whole, and the names of others to which the same came."""
    causes: dict[str, list[CheckResult]] = {}
    for result in results:
        if result.bad:
            causes.setdefault(result.message, []).append(result)
    return [first.report() + _also(others) for first, *others in causes.values()]


def _also(others: list[CheckResult]) -> str:
    names = ", ".join(f"{other.component}: {other.check}" for other in others)
    return f"\n    the same came to {names}" if others else ""


def check_plugin(
    name: str,
    *,
    on_fail: Literal["raise", "return"] = "raise",
    groups: tuple[Group, ...] | None = None,
    recipes: Collection[str] | None = None,
) -> list[CheckResult]:
    """Run every check on an installed plugin.

    Args:
        name: of its entry point; ``core`` for detzoo itself.
        on_fail: ``raise`` after the last check, listing all failures, or just ``return`` the results.
        groups: which groups to run; all by default.
        recipes: names of the recipes that the group ``detector`` builds and runs; None for those that the manifest
            names under ``conformance``, all where it names none.

    Raises:
        ConformanceError: something failed and ``on_fail`` is ``raise``, or the manifest expects failures of a check
            that there is not.
    """
    results = [
        _run(component, check)
        for component, check in list(checks(name, recipes))
        if groups is None or check.group in groups
    ]
    bad = [result for result in results if result.bad]
    if bad and on_fail == "raise":
        lines = "\n".join(findings(bad))
        raise ConformanceError(f"plugin {name}: {len(bad)} of {len(results)} checks failed\n{lines}")
    return results


def _run(component: CheckedComponent, check: Check) -> CheckResult:
    status, message = _outcome(component, check)
    return CheckResult(component.id, check.name, check.group, status, message, check.explanation, check.page)


def _outcome(component: CheckedComponent, check: Check) -> tuple[Status, str]:
    if component.missing:
        return "skipped", component.missing
    reason = component.expected_failures.get(check.name)
    try:
        check(component)
    except Exception as error:
        return ("failed", _describe(error)) if reason is None else ("expected_failure", reason)
    if reason is not None:
        return "unexpected_pass", f"it passes although it was expected to fail: {reason}"
    return "passed", ""


def _describe(error: Exception) -> str:
    if isinstance(error, AssertionError | DetzooError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "/torch/" not in frame.filename), frames[-1])
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
