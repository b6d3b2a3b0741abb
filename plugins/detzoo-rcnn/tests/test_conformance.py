"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

from detzoo.testing import Check, Component, parametrize_with_checks


@parametrize_with_checks("rcnn")
def test_conformance(component: Component, check: Check) -> None:
    check(component)
