"""What components give to those around them and need from them: one enum, and the two class attributes that use it.

Free of torch: recipes are checked by the words that ``detzoo registry sync`` wrote down, without loading a class.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

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
    """The matcher is shown what was predicted."""
    QUALITY_TARGETS = "quality_targets"
    """``Assignment.quality`` is filled, or a loss computes such soft targets itself and passes them on."""
    READS_QUALITY = "reads_quality"
    """Soft targets enter the loss; without it they are ignored."""


SCORES: Final = frozenset(
    {Feature.SOFTMAX_SCORES, Feature.CATEGORICAL_SCORES, Feature.SIGMOID_SCORES, Feature.LINEAR_SCORES}
)
"""Alternatives: a head gives one of them in the end, and to a component that needs several, each alone is enough."""

NOTHING: Final[frozenset[Feature]] = frozenset()


class Component:
    """What a kind's abstract class derives from to take part in the comparison.

    The attributes of the class say what its objects may give and do need; a constructor may narrow them by its values:
    a head that is told its scoring keeps that one. The first are compared when a recipe is read, the second when the
    detector is built. The conformance kit compares both with real outputs.
    """

    gives: frozenset[Feature] = NOTHING
    needs: frozenset[Feature] = NOTHING


def with_scoring(features: frozenset[Feature], scoring: Scoring) -> frozenset[Feature]:
    """The features with this way of scoring and no other: for a head whose constructor is told which."""
    return features - SCORES | {Feature(f"{scoring}_scores")}


__all__ = ["NOTHING", "SCORES", "Component", "Feature", "with_scoring"]
