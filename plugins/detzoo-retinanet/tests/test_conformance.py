"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

import pytest

from detzoo.registry import get_registry
from detzoo.testing import Check, Component, parametrize_with_checks

SMALL = ("fcos_mobilenet_v2", "retinanet_mobilenet_v2")


def large() -> list[str]:
    """Every other recipe: minutes each on a CPU."""
    manifest = get_registry().plugins.records["retinanet"].manifest
    assert manifest is not None
    return sorted(manifest.detectors.keys() - set(SMALL))


@parametrize_with_checks("retinanet", recipes=SMALL)
def test_conformance(component: Component, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks("retinanet", groups=("detector",), recipes=large())
def test_conformance_of_the_large_recipes(component: Component, check: Check) -> None:
    check(component)
