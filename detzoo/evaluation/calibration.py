"""Does a score say how often a detection is right? Reliability diagrams, and the expected calibration error.

    D-ECE = sum over bins m of |D_m| / |D| x |precision(m) - mean score(m)|

over detections of a score of at least ``SCORED_FROM``, right from IoU 0.5 on. Without the least score the many
detections near 0 would hide all others. Bins may be of the score alone, or of the score and the place of the box: a
detector can be right on the whole, and too sure of small boxes or at the border.

Source: Küppers, Kronenberger, Shantia, Haselhoff, "Multivariate Confidence Calibration for Object Detection", CVPR
Workshops 2020 (arXiv:2004.13546).

Letters: D detections, M bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import SettingError
from detzoo.evaluation.scored_classes import Floats, ScoredClass

SCORED_FROM: Final = 0.3
By: TypeAlias = Literal["score", "centre", "box"]
DIMENSIONS: Final[dict[By, tuple[int, int, int]]] = {"score": (0, 20, 1), "centre": (2, 8, 8), "box": (4, 5, 8)}
"""Columns of ``ScoredClass.places`` beside the score, bins of each dimension, least number of detections of a bin."""


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram: bins of equal width over scores 0 to 1, the upper end in the bin.

    Args:
        counts: detections of each bin [M].
        score: their mean score [M]; NaN where there are none.
        precision: share of them that are right [M]; NaN where there are none.
    """

    counts: tuple[int, ...]
    score: tuple[float, ...]
    precision: tuple[float, ...]

    @property
    def detections(self) -> int:
        """In all bins."""
        return sum(self.counts)


def reliability(classes: Sequence[ScoredClass], *, least: float = SCORED_FROM, bins: int = 20) -> Reliability:
    """The reliability diagram of some classes together.

    Args:
        classes: of ``scored_classes``.
        least: detections of a lower score are left out.
        bins: from 0 to 1.

    Raises:
        SettingError: fewer than one bin.
    """
    if bins < 1:
        raise SettingError(f"bins is {bins}; it must be 1 or more")
    table = gathered(classes, least)
    place = bin_of(table[:, 0], bins)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        score = np.bincount(place, table[:, 0], minlength=bins) / counts
        precision = np.bincount(place, table[:, 1], minlength=bins) / counts
    return Reliability(tuple(counts.tolist()), tuple(score.tolist()), tuple(precision.tolist()))


def calibration_error(classes: Sequence[ScoredClass], *, least: float = SCORED_FROM, by: By = "score") -> float:
    """D-ECE of some classes together, 0..1; NaN without a detection that counts in it.

    Args:
        classes: of ``scored_classes``.
        least: detections of a lower score are left out.
        by: bins of the ``score``; of the score and the ``centre`` of the box; of the score and the ``box``. Bins of
            fewer than 8 detections are left out where there are several dimensions, and so are boxes in images of an
            unknown size.

    Raises:
        SettingError: another word for ``by``.
    """
    if by not in DIMENSIONS:
        raise SettingError(f"by is {by!r}; allowed: {', '.join(DIMENSIONS)}")
    columns, bins, enough = DIMENSIONS[by]
    table = gathered(classes, least)
    seen = np.column_stack([table[:, 0], table[:, 2 : 2 + columns]])
    known = ~np.isnan(seen).any(axis=1)
    table, seen = table[known], seen[known]
    places = bin_of(seen, bins)
    _, place, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    gap = np.abs(np.bincount(place.ravel(), table[:, 1] - table[:, 0], minlength=len(counts)))
    kept = counts >= enough
    return float(gap[kept].sum() / counts[kept].sum()) if kept.any() else float("nan")


def bin_of(shares: Floats, bins: int) -> NDArray[np.int64]:
    """Number of the bin of each share, from 0; what lies outside 0 to 1 is in the first or the last."""
    upper = np.ceil(np.round(shares * bins, 9))  # .55 of 20 bins is 11, not 11.000000000000002
    return np.clip(upper.astype(np.int64) - 1, 0, bins - 1)


def gathered(classes: Sequence[ScoredClass], least: float) -> Floats:
    """Score, right or not, and place of all detections from a score on: float64 [D,6]."""
    own = [np.column_stack([one.scores, one.true, one.places]) for one in classes]
    table: Floats = np.concatenate([np.zeros((0, 6)), *own])
    return table[table[:, 0] >= least]
