"""The conformance kit: what every plugin must keep, as checks that anyone can run.

In a plugin's tests::

    from detzoo.testing import Check, CheckedComponent, parametrize_with_checks

    @parametrize_with_checks("ssd")
    def test_conformance(component: CheckedComponent, check: Check) -> None:
        check(component)

``image_batch``, ``targets`` and ``candidates`` make the values of the contract from plain numbers, for tests by hand.
"""

import pkgutil
import sys
from typing import TYPE_CHECKING, Any

if "pytest" in sys.modules:
    # Failed checks then show the values they compared. An entry point of pytest would make it rewrite all of detzoo,
    # in every run on the machine.
    _files = (f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__))
    sys.modules["pytest"].register_assert_rewrite(*_files)

from detzoo.testing.kit import Check, CheckedComponent, ConformanceError, checks, recipes_left_out
from detzoo.testing.parametrizing import parametrize_with_checks
from detzoo.testing.results import CheckResult, check_plugin, findings

if TYPE_CHECKING:
    from detzoo.testing.by_hand import candidates, image_batch, targets

_BY_HAND = ("candidates", "image_batch", "targets")


def __getattr__(name: str) -> Any:
    """Values by hand need torch, which every pytest run on the machine would load with this package."""
    if name not in _BY_HAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from detzoo.testing import by_hand

    return getattr(by_hand, name)


__all__ = [
    "Check",
    "CheckResult",
    "CheckedComponent",
    "ConformanceError",
    "candidates",
    "check_plugin",
    "checks",
    "findings",
    "image_batch",
    "parametrize_with_checks",
    "recipes_left_out",
    "targets",
]
