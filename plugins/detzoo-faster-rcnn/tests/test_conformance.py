"""The plugin keeps the contract: detzoo's own conformance kit."""

from __future__ import annotations

import pytest

from detzoo.testing import Check, CheckedComponent, parametrize_with_checks, recipes_left_out

# But TensorFlow's largest, which take tens of gigabytes to train on three images of their size:
# test_tensorflow_recipes.py trains and runs them on small ones.
LARGE = [name for name in recipes_left_out("faster_rcnn") if "_atrous_" not in name and "_nas_" not in name]


@parametrize_with_checks("faster_rcnn", slow=("export",))  # tests/export exports whole detectors
def test_conformance(component: CheckedComponent, check: Check) -> None:
    check(component)


@pytest.mark.slow
@parametrize_with_checks("faster_rcnn", groups=("detector",), recipes=LARGE)
def test_conformance_of_the_large_recipes(component: CheckedComponent, check: Check) -> None:
    check(component)
