"""The conformance kit: what every plugin must keep, as checks that anyone can run.

In a plugin's tests::

    from detzoo.testing import Check, Component, parametrize_with_checks

    @parametrize_with_checks("ssd")
    def test_conformance(component: Component, check: Check) -> None:
        check(component)
"""

from detzoo.testing.kit import Check, Component, ConformanceError, checks, recipes_left_out
from detzoo.testing.parametrizing import parametrize_with_checks
from detzoo.testing.results import CheckResult, check_plugin, findings

__all__ = [
    "Check",
    "CheckResult",
    "Component",
    "ConformanceError",
    "check_plugin",
    "checks",
    "findings",
    "parametrize_with_checks",
    "recipes_left_out",
]
