"""Localisation recall precision: one error that joins false positives, misses and how well boxes fit.

    LRP(s) = (sum over true detections of (1 - IoU) / (1 - 0.5) + FP + FN) / (TP + FP + FN)

of the detections of a score of at least s. oLRP is its smallest value over s, and that s is the threshold which it
chooses for the class. 0 is perfect; 1 is as bad as no detection.

Source: Oksuz, Cam, Akbas, Kalkan, "Localization Recall Precision (LRP): A New Performance Metric for Object Detection",
ECCV 2018 (arXiv:1807.01696).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detzoo.evaluation.judging import FOREGROUND
from detzoo.evaluation.scored_classes import ScoredClass


@dataclass(frozen=True)
class OptimalLrp:
    """oLRP of one class.

    Args:
        value: 0 (perfect) to 1.
        threshold: score from which detections are kept; None where none is better than no detection.
        localisation: mean of 1 - IoU of the true detections that are kept; NaN without one.
        false_positive: 1 - precision; NaN where nothing is kept.
        false_negative: 1 - recall.
    """

    value: float
    threshold: float | None
    localisation: float
    false_positive: float
    false_negative: float


def optimal_lrp(scored: ScoredClass) -> OptimalLrp | None:
    """oLRP of a class; None where there is no object to be found.

    Args:
        scored: its detections.
    """
    if not scored.objects:
        return None
    ends = scored.ends
    true, off = (np.concatenate([[0.0], np.cumsum(values)]) for values in (scored.true, scored.true * (1 - scored.iou)))
    kept = np.concatenate([[0], ends])
    errors = (off[kept] / (1 - FOREGROUND) + (kept - true[kept]) + (scored.objects - true[kept])) / (
        kept - true[kept] + scored.objects
    )
    best = int(errors.argmin())
    number = int(kept[best])
    nan = float("nan")
    return OptimalLrp(
        value=float(errors[best]),
        threshold=float(scored.scores[number - 1]) if number else None,
        localisation=float(off[number] / true[number]) if true[number] else nan,
        false_positive=float(1 - true[number] / number) if number else nan,
        false_negative=float(1 - true[number] / scored.objects),
    )


def mean_lrp(found: Sequence[OptimalLrp | None]) -> float:
    """Mean oLRP over classes with objects; NaN without one."""
    values = [one.value for one in found if one is not None]
    return float(np.mean(values)) if values else float("nan")
