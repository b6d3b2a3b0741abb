"""What components give to other components and need from them: one enum, and two class attributes that use it.

Imports no torch: recipes are checked by what ``detzoo registry sync`` recorded, without loading a class.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from detzoo.types import Scoring


class Feature(StrEnum):
    """Something that one component gives and another one may need."""

    # What a head's predictions hold
    CLASS_LOGITS = "class_logits"
    QUALITY_LOGITS = "quality_logits"
    """Objectness or centreness next to the classes."""
    MASK_LOGITS = "mask_logits"
    ONE_BOX = "one_box"
    """One box for all classes, not one per class."""
    DISTRIBUTION = "distribution"
    """Logits over bins of the distance to each edge."""

    # How its logits become scores; see ``SCORES``
    SOFTMAX_SCORES = "softmax_scores"
    CATEGORICAL_SCORES = "categorical_scores"
    SIGMOID_SCORES = "sigmoid_scores"
    LINEAR_SCORES = "linear_scores"

    # Where its candidates lie
    LEVELS = "levels"
    """On the grids of feature maps: a dense head's anchors or cells."""
    ONE_GRID = "one_grid"
    """On the cells of a single map."""
    ONE_PER_CELL = "one_per_cell"
    """One candidate in each cell of every map."""

    # What passes between detector, matcher and loss
    PREDICTIONS = "predictions"
    """The matcher gets the predictions."""
    QUALITY_TARGETS = "quality_targets"
    """``Assignment.quality`` is filled, or a loss computes such soft targets itself and passes them on."""
    READS_QUALITY = "reads_quality"
    """Soft targets enter the loss; without it they are ignored."""


WAYS: Final[dict[Feature, Scoring]] = {
    Feature.SOFTMAX_SCORES: "softmax",
    Feature.CATEGORICAL_SCORES: "categorical",
    Feature.SIGMOID_SCORES: "sigmoid",
    Feature.LINEAR_SCORES: "linear",
}
SCORES: Final = frozenset(WAYS)
"""Alternatives: a head gives exactly one of them; a component that needs several accepts any of them."""

NOTHING: Final[frozenset[Feature]] = frozenset()


class Component:
    """Base of the interfaces whose ``gives`` and ``needs`` are compared.

    Class attributes name what objects may give and what they need; a constructor may narrow them by its values: a
    head with a ``scoring`` parameter keeps that one. Class attributes are compared when a recipe is read, those of
    objects when the detector is built. The conformance kit compares both with real outputs.
    """

    gives: frozenset[Feature] = NOTHING
    needs: frozenset[Feature] = NOTHING


class Scored(Component):
    """A component whose logits become scores in exactly one way: heads."""

    @property
    def scoring(self) -> Scoring:
        """The one way of ``SCORES`` that ``gives`` names; a head with a ``scoring`` parameter assigns it."""
        ways = [way for feature, way in WAYS.items() if feature in self.gives]  # torch.compile knows no sets of enums
        if len(ways) != 1:
            told = ", ".join(sorted(ways)) or "none"
            raise ValueError(f"{type(self).__name__}: gives names one of the scores, set self.scoring; found: {told}")
        return ways[0]

    @scoring.setter
    def scoring(self, scoring: Scoring) -> None:
        self.gives = self.gives - SCORES | {Feature(f"{scoring}_scores")}


class Abilities(NamedTuple):
    """What a component gives and needs, as words: those of ``Feature``."""

    gives: frozenset[str] = NOTHING
    needs: frozenset[str] = NOTHING


def abilities_of(component: object) -> Abilities:
    """Those of a component's class, or of the object: its constructor may have narrowed them."""
    cls = component if isinstance(component, type) else type(component)
    if not issubclass(cls, Component):
        return Abilities()  # settings, and kinds that take no part
    declares = cast("type[Component] | Component", component)
    return Abilities(declares.gives, declares.needs)


def in_order(words: Iterable[str]) -> list[str]:
    """As the enum lists them; words that it does not have come last."""
    known = list(Feature)
    return sorted(words, key=lambda word: (known.index(Feature(word)) if word in known else len(known), word))


__all__ = ["NOTHING", "SCORES", "Abilities", "Component", "Feature", "Scored", "abilities_of", "in_order"]
