"""The kit as tests of pytest: one per check."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from detzoo.testing.catalogue import Group
from detzoo.testing.kit import checks

if TYPE_CHECKING:
    import pytest


def parametrize_with_checks(
    plugin: str,
    *,
    groups: tuple[Group, ...] | None = None,
    recipes: Collection[str] | None = None,
    slow: tuple[Group, ...] = (),
) -> pytest.MarkDecorator:
    """Make a pytest test of every check: decorate ``def test_conformance(component, check): check(component)``.

    Failures that the manifest expects become strict xfails; components whose optional package is missing are skipped.

    Args:
        plugin: as in ``check_plugin``.
        groups: which groups to run; all by default.
        recipes: as in ``check_plugin``; those that the manifest leaves out belong in a slow test.
        slow: groups whose tests get the mark ``slow``; those of ``export`` take seconds each.
    """
    import pytest

    cases = []
    for component, check in checks(plugin, recipes):
        if groups is None or check.group in groups:
            reason = component.expected_failures.get(check.name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            if check.group in slow:
                marks.append(pytest.mark.slow)
            if component.missing:
                marks.append(pytest.mark.skip(reason=component.missing))
            cases.append(pytest.param(component, check, id=f"{component}: {check}", marks=marks))
    return pytest.mark.parametrize(("component", "check"), cases)
