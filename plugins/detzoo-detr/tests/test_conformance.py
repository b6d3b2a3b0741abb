"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

import pytest

from detzoo.testing import Check, CheckedComponent, parametrize_with_checks, recipes_left_out


@parametrize_with_checks("detr", slow=("export",))  # tests/export exports whole detectors
def test_conformance(component: CheckedComponent, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks("detr", groups=("detector",), recipes=recipes_left_out("detr"))
def test_conformance_of_the_large_recipes(component: CheckedComponent, check: Check) -> None:
    check(component)
