"""What a test set can tell, and what it would take to tell more: from the variance of a number or of a difference.

Assumed throughout: further images (or groups) are drawn from where these are, so that their part of the variance falls
as one over their number; further seeds likewise; a difference is spread normally; and, for what would settle it, the
true difference is the one that was seen. The last is the boldest: where the true one is smaller, more is needed.

Letters: n images (or groups), k seeds, V variance, d difference, t Student's quantile, z the normal one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np

from detzoo.errors import SettingError
from detzoo.evaluation.intervals import LEVEL, Support, students_t

POWER: Final = 0.8
"""How often a difference that is really there has to be seen."""
MOST: Final = 1000
"""Times as many images, or seeds, as there are: what would take more is not worth a number."""
EXACT_TO: Final = 30
"""Degrees of freedom from which the expansion of Student's t is as good as the integral."""


@dataclass(frozen=True)
class SeedVariance:
    """How a detector's number spreads over trainings that differ by their seed.

    Args:
        variance: over seeds, with ``seeds - 1`` as divisor.
        seeds: how many, at least 2.
    """

    variance: float
    seeds: int


@dataclass(frozen=True)
class Variance:
    """The variance of a number or of a difference, by where it comes from.

    ``whole`` = V_images x ``support.wider`` + sum over detectors of V_seeds / k.

    Args:
        images: of the resamples.
        support: units (images or groups) with objects behind it.
        units: units in all.
        seeds: of each detector with several seeds; the others' part is not known, and not in it.
    """

    images: float
    support: Support
    units: int
    seeds: tuple[SeedVariance, ...] = ()

    @property
    def whole(self) -> float:
        """Of images and seeds together."""
        return self._parts[0][0] + sum(own for own, _ in self._parts[1:])

    @property
    def _parts(self) -> list[tuple[float, float]]:
        """(variance, degrees of freedom) of images, and of each detector's seeds."""
        images = self.images * self.support.wider
        return [(images, self.support.freedom), *((own.variance / own.seeds, own.seeds - 1) for own in self.seeds)]

    @property
    def freedom(self) -> float:
        """Degrees of freedom after Satterthwaite (Biometrics Bulletin 2(6), 1946)."""
        used = sum(own**2 / freedom for own, freedom in self._parts)
        return self.whole**2 / used if used else self.support.freedom

    def half_width(self, level: float = LEVEL) -> float:
        """Half the width of the interval, t x sqrt(V): the smallest difference that, once seen, is settled.

        Raises:
            SettingError: the level is not between 0 and 1.
        """
        return t_quantile((1 + checked(level, "level")) / 2, self.freedom) * math.sqrt(self.whole)

    def detectable(self, power: float = POWER, level: float = LEVEL) -> float:
        """The smallest true difference that such a test set settles with a probability of ``power``.

        (t + z) x sqrt(V) with z the quantile of ``power``: 1.43 times ``half_width`` for 80 % and many images.

        Raises:
            SettingError: power or level is not between 0 and 1.
        """
        return self.half_width(level) + NormalDist().inv_cdf(checked(power, "power")) * math.sqrt(self.whole)

    def more_units(self, difference: float, *, power: float = POWER, level: float = LEVEL) -> int | None:
        """How many more images (or groups) would settle a difference with a probability of ``power``.

        The smallest m for which (t + z) x sqrt(V_images n / (n + m) + V_seeds) is no more than ``|d|``.

        Args:
            difference: that was seen, taken for the true one.
            power: probability that the larger test set settles it.
            level: of the interval that has to leave out 0.

        Returns:
            0 where these do; None where ``MOST`` times as many would not: seeds would have to be added, or the two
            are as good as equal.

        Raises:
            SettingError: power or level is not between 0 and 1.
        """

        def reached(more: int) -> bool:
            return self._with_units(self.units + more).detectable(power, level) <= abs(difference)

        return smallest(reached, MOST * self.units) if difference else None

    def more_seeds(self, difference: float, *, power: float = POWER, level: float = LEVEL) -> int | None:
        """How many more seeds of each detector would settle a difference with a probability of ``power``.

        The smallest m for which (t + z) x sqrt(V_images + sum of V_seeds / (k + m)) is no more than ``|d|``.

        Args:
            difference: that was seen, taken for the true one.
            power: probability that it is then settled.
            level: of the interval that has to leave out 0.

        Returns:
            0 where these do; None where ``MOST`` more would not (images would have to be added), or where no detector
            has several seeds, so that nothing is known of their spread.

        Raises:
            SettingError: power or level is not between 0 and 1.
        """

        def reached(more: int) -> bool:
            added = tuple(replace(own, seeds=own.seeds + more) for own in self.seeds)
            return replace(self, seeds=added).detectable(power, level) <= abs(difference)

        return smallest(reached, MOST) if self.seeds and difference else None

    def _with_units(self, units: int) -> Variance:
        share = units / self.units
        support = replace(self.support, groups=tuple(round(own * share) for own in self.support.groups))
        return replace(self, images=self.images / share, support=support, units=units)


def checked(share: float, name: str) -> float:
    """A probability.

    Raises:
        SettingError: it is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise SettingError(f"{name} is {share}; it must be between 0 and 1, as 0.95")
    return share


def smallest(holds: Callable[[int], bool], most: int) -> int | None:
    """The smallest whole number from 0 to ``most`` from which a condition holds; None where it never does."""
    if holds(0):
        return 0
    low, high = 0, 1
    while not holds(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def t_quantile(probability: float, freedom: float) -> float:
    """Student's t below which a variable lies with a probability of at least 0.5; ``freedom`` below 1 counts as 1.

    With t = sqrt(freedom) x tan(a), the density of a is proportional to cos(a)^(freedom - 1).
    """
    if freedom >= EXACT_TO:
        return students_t(NormalDist().inv_cdf(probability), freedom)
    freedom = max(freedom, 1.0)
    angle = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angle) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    at = float(np.interp(2 * probability - 1, below / below[-1], angle))
    return math.sqrt(freedom) * math.tan(at)
