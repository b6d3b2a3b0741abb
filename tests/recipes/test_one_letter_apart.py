"""Class names that a slip of the keyboard tells apart, and those that are meant to be neighbours."""

from __future__ import annotations

import pytest

from detzoo.recipes.class_matching import one_letter_apart
from detzoo.recipes.class_names import SETS


def test_no_names() -> None:
    assert one_letter_apart([]) == []


@pytest.mark.parametrize("slip", ["qeen", "queeen", "quean", "quene", "QEEN"])
def test_a_letter_too_few_too_many_wrong_or_swapped(slip: str) -> None:
    assert one_letter_apart(["king", "queen", slip, "rook"]) == [("queen", slip)]


@pytest.mark.parametrize(
    "names", [("cat", "bat"), ("class1", "class2"), ("dog", "dogs"), ("a", "ab"), ("king", "ring")]
)
def test_neighbours_that_are_meant(names: tuple[str, str]) -> None:
    assert one_letter_apart(names) == []


@pytest.mark.parametrize("known", SETS)
def test_published_classes_are_meant(known: str) -> None:
    assert one_letter_apart([name for name in SETS[known] if name is not None]) == []
