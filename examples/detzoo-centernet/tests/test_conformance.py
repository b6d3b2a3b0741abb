"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

from detzoo.testing import Check, CheckedComponent, parametrize_with_checks


@parametrize_with_checks("centernet", slow=("export",))  # exporting takes seconds
def test_conformance(component: CheckedComponent, check: Check) -> None:
    check(component)
