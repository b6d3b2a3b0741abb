"""F1 against confidence: what remains of precision and recall when detections below a score are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.scored_classes import ScoredClass, scored_classes

THRESHOLDS: Final = np.round(np.linspace(0.0, 1.0, 101), 2)
"""Scores from which detections are kept."""


@dataclass(frozen=True)
class F1Curve:
    """F1 at each of THRESHOLDS.

    Args:
        f1: float64 [101], 0..1.
    """

    f1: NDArray[np.float64]

    @property
    def threshold(self) -> float:
        """The score of the highest F1; where it stays the same for a while, the middle of the first such stretch."""
        first = int(self.f1.argmax())
        lower = np.flatnonzero(self.f1[first:] < self.f1[first])
        last = first + int(lower[0]) - 1 if len(lower) else len(self.f1) - 1
        return float(THRESHOLDS[(first + last) // 2])

    @property
    def best(self) -> float:
        """The highest F1, 0..1."""
        return float(self.f1.max())


def f1_curves(detections: Sequence[Mapping[str, Any]], ground_truth: Mapping[str, Any]) -> dict[int, F1Curve]:
    """Category id -> curve, of the classes with objects that count.

    A detection is right from IoU 0.5 on a free box of its class, the better score first; what lies on a difficult or
    crowd box counts neither way. F1 is 2 TP / (detections + objects).

    Args:
        detections: COCO result rows with bbox xywh px.
        ground_truth: COCO ground truth.
    """
    return f1_of_classes(scored_classes(detections, ground_truth))


def f1_of_classes(classes: Mapping[int, ScoredClass]) -> dict[int, F1Curve]:
    """The curves of classes that were scored before."""
    return {
        category: F1Curve(f1_of(list(zip(own.scores.tolist(), own.true.tolist(), strict=True)), own.objects))
        for category, own in classes.items()
        if own.objects
    }


def f1_of(scored: Sequence[tuple[float, bool]], objects: int) -> NDArray[np.float64]:
    """F1 of one class with at least one object at each of THRESHOLDS [101], from (score, right) pairs.

    Matches are made from the best score down: dropping low scores changes none of those above.
    """
    values = np.array([score for score, _ in scored], dtype=np.float64)
    right = np.array([hit for _, hit in scored], dtype=bool)
    kept = values[None, :] >= THRESHOLDS[:, None]
    hits = (kept & right[None, :]).sum(axis=1)
    f1: NDArray[np.float64] = 2 * hits / (kept.sum(axis=1) + objects)
    return f1


def mean_curve(curves: Mapping[int, F1Curve]) -> F1Curve | None:
    """The mean of the classes, one threshold for all of them; None without a class."""
    return F1Curve(np.mean([curve.f1 for curve in curves.values()], axis=0)) if curves else None
