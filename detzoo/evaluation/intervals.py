"""The confidence interval of a number from its resamples.

It is the percentile interval of the resamples, corrected for bias (Efron's BC, Canadian Journal of Statistics 9(2),
1981) and widened for few images: an expanded percentile interval (Hesterberg, "What Teachers Should Know About the
Bootstrap", The American Statistician 69(4), 2015, section 5). In a mean over classes, few images of one class count by
their share of the variance (Satterthwaite's degrees of freedom, Biometrics Bulletin 2(6), 1946), each image of each
class taken to vary alike. A difference of two detectors is not corrected: their biases are nearly the same, and without
it the truth is covered more often, as ``benchmarks/interval_coverage.py`` measures.

Letters: B resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from detzoo.errors import SettingError
from detzoo.evaluation.weighted_precision import Floats

LEVEL: Final = 0.95
ENOUGH: Final = 10
"""Images (or groups) with objects from which there is an interval: below, it would cover the truth too rarely."""
ENOUGH_AT_50: Final = 20
"""The same for AP50 and VOC's, which are often near 1: few images show too little of what is missed."""
ROUNDED: Final = 1e-6
"""Resamples this near to a number are equal to it: they are counted in float32."""


@dataclass(frozen=True)
class Interval:
    """Where the number of very many such images lies, as far as these tell.

    Args:
        low: end, in the unit of the number.
        high: end.
        level: how often such intervals cover the truth.
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Support:
    """Units (images or groups) behind a mean over classes.

    Args:
        groups: for each class with objects how many units have one.
        needed: units from which there is an interval.
    """

    groups: tuple[int, ...]
    needed: int = ENOUGH

    @property
    def freedom(self) -> float:
        """Degrees of freedom: units less one for one class."""
        shares = [1 / own for own in self.groups]
        return sum(shares) ** 2 / sum(s**2 / _less_one(u) for s, u in zip(shares, self.groups, strict=True))

    @property
    def is_enough(self) -> bool:
        """Whether there is an interval."""
        return bool(self.groups) and self.freedom >= self.needed - 1

    @property
    def wider(self) -> float:
        """What the variance of resamples is too small by: n / (n - 1) for one class."""
        return sum(1 / _less_one(own) for own in self.groups) / sum(1 / own for own in self.groups)

    def deviations(self, level: float) -> float:
        """Standard deviations of the resamples from the middle to either end; 1.96 with many images.

        Raises:
            SettingError: the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise SettingError(f"level is {level}; it must be between 0 and 1, as 0.95")
        return students_t(NormalDist().inv_cdf((1 + level) / 2), self.freedom) * math.sqrt(self.wider)


def _less_one(units: int) -> float:
    """Units less one; one alone, of which no variance can be seen, as a half."""
    return max(units - 1, 0.5)


def students_t(z: float, freedom: float) -> float:
    """Student's t of the same probability as a normal deviate, to 3 digits from 9 degrees of freedom on.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def interval_of(values: Floats, support: Support, level: float, point: float | None = None) -> Interval | None:
    """The interval of a number, or of a difference, from its resamples [B]; None where too few units stand behind it.

    Args:
        values: float64 [B], NaN where no object was drawn.
        support: what stands behind it.
        level: how often such intervals cover the truth.
        point: the number itself, to correct for bias; None does not.

    Raises:
        SettingError: the level is not between 0 and 1.
    """
    known = values[~np.isnan(values)]
    if not support.is_enough or not len(known):
        return None
    normal, end = NormalDist(), support.deviations(level)
    shift = 0.0 if point is None else normal.inv_cdf(share_below(known, point))
    low, high = np.quantile(known, [normal.cdf(2 * shift - end), normal.cdf(2 * shift + end)])
    return Interval(float(low), float(high), level)


def share_below(values: Floats, point: float) -> float:
    """Share of resamples [B] below a number, equal ones by half; never quite 0 or 1."""
    below = ((values < point - ROUNDED).mean() + (values <= point + ROUNDED).mean()) / 2
    least = 1 / (len(values) + 1)
    return float(np.clip(below, least, 1 - least))
