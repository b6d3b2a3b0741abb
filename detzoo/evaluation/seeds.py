"""Seeds as the second level: a detector that was trained several times, and whose trainings differ by their seed.

What is ranked then is not one training but the recipe: the mean over its seeds, as it would be with very many images
and seeds. Its variance has two parts, and their sum is

    V = V_images + s^2 / k

with V_images the variance of the mean over the k seeds when images are resampled (the same images for all seeds), and
s^2 the variance of the k numbers, with k - 1 as divisor. Degrees of freedom after Satterthwaite, so that two or three
seeds give a wide interval. The numbers of different seeds differ by their images as well (one seed is better here,
another there). That part stands in both terms: the sum is a little too large, never too small.

Assumed: seeds are a random choice, and images too; a difference is spread normally.

Source: two-way random effects (Searle, Casella, McCulloch, Variance Components, 1992, chapter 4); for resampling both
ways Owen, "The Pigeonhole Bootstrap", Annals of Applied Statistics 1(2), 2007, whose sum counts that part thrice.

Letters: k seeds, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detzoo.errors import DataError, SettingError
from detzoo.evaluation.intervals import ENOUGH, LEVEL, Interval, Support, interval_of
from detzoo.evaluation.resampled_numbers import PairedDifference, Resampled
from detzoo.evaluation.settling import SeedVariance, Variance
from detzoo.evaluation.weighted_precision import Floats


@dataclass(frozen=True)
class SeedValues:
    """One number of a detector by seed, and by seed and resample.

    Args:
        numbers: of each seed [k].
        values: float64 [k,B], the same resamples of images for all; NaN where no object was drawn.
    """

    numbers: tuple[float, ...]
    values: Floats

    @property
    def number(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.numbers))

    @property
    def spread(self) -> float:
        """Standard deviation over seeds, with k - 1 as divisor; NaN with one seed."""
        return float(np.std(self.numbers, ddof=1)) if len(self.numbers) > 1 else math.nan

    @property
    def by_resample(self) -> Floats:
        """The mean over seeds of each resample of images [B]."""
        mean: Floats = self.values.mean(axis=0)
        return mean

    @property
    def seed_variance(self) -> tuple[SeedVariance, ...]:
        """What is known of the seeds; nothing with one."""
        return (SeedVariance(self.spread**2, len(self.numbers)),) if len(self.numbers) > 1 else ()

    def two_level(self, seed: int) -> Floats:
        """The mean over drawn seeds of each resample of images [B]: as many seeds as there are, with replacement.

        The deviation of drawn seeds from the mean is enlarged by sqrt(k / (k - 1)): a draw of k out of k varies too
        little by that.

        Args:
            seed: of the draws; detectors that are compared need different ones.
        """
        number = len(self.numbers)
        if number == 1:
            return self.by_resample
        rng = np.random.default_rng([seed, number])
        drawn = np.array(self.numbers)[rng.integers(0, number, (self.values.shape[1], number))].mean(axis=1)
        moved: Floats = self.by_resample + math.sqrt(number / (number - 1)) * (drawn - self.number)
        return moved

    def variance(self, support: Support, units: int) -> Variance:
        """Of the mean over seeds.

        Args:
            support: units (images or groups) with objects behind it.
            units: in all.
        """
        return Variance(float(np.nanvar(self.by_resample, ddof=1)), support, units, self.seed_variance)

    def interval(self, support: Support, units: int, level: float = LEVEL) -> Interval | None:
        """Of the mean over seeds; with one seed that of its images alone; None where too few units have objects."""
        if len(self.numbers) == 1:
            return interval_of(self.values[0], support, level, self.number)
        return around(self.number, self.variance(support, units), level)


def around(number: float, variance: Variance, level: float) -> Interval | None:
    """The interval of a number with that variance on both sides; None where too few units stand behind it."""
    if not variance.support.is_enough or math.isnan(variance.images):
        return None
    half = variance.half_width(level)
    return Interval(number - half, number + half, level)


def difference_variance(one: SeedValues, other: SeedValues, support: Support, units: int) -> Variance:
    """Of the difference of two detectors: images are the same for both, seeds are not."""
    images = float(np.nanvar(one.by_resample - other.by_resample, ddof=1))
    return Variance(images, support, units, (*one.seed_variance, *other.seed_variance))


@dataclass(frozen=True)
class OverSeeds:
    """A number of a recipe that was trained with several seeds.

    Args:
        metric: name of the number.
        by_seed: the number of each seed.
        number: their mean.
        spread: their standard deviation, with k - 1 as divisor; NaN with one.
        interval: of the mean, over images and seeds; with one seed over images alone; None where too few images have
            objects.
        variance: of the mean, by where it comes from.
    """

    metric: str
    by_seed: tuple[float, ...]
    number: float
    spread: float
    interval: Interval | None
    variance: Variance


def over_seeds(
    trainings: Sequence[Resampled], metric: str = "AP", of_class: str | None = None, *, level: float = LEVEL
) -> OverSeeds:
    """A number of a recipe, from its trainings with different seeds.

    Args:
        trainings: one evaluation of each seed, of one call of ``resample``.
        metric: AP, AP50, APs, AR100, ...
        of_class: name of a class; None for all.
        level: of the interval.

    Raises:
        DataError: none is given, or they were not resampled alike.
        SettingError: no such number or class, or the level is not between 0 and 1.
    """
    own = values_of_seeds(trainings, metric, of_class)
    support, units = trainings[0].support(metric, of_class), len(set(trainings[0].design.units))
    interval, variance = own.interval(support, units, level), own.variance(support, units)
    return OverSeeds(metric, own.numbers, own.number, own.spread, interval, variance)


def seeded_difference(
    one: Sequence[Resampled],
    other: Sequence[Resampled],
    metric: str = "AP",
    of_class: str | None = None,
    *,
    level: float = LEVEL,
) -> PairedDifference:
    """What one of two recipes is better by, each trained with several seeds; images are the same, seeds are not.

    ``better`` is the share of two-level resamples: images are drawn, and seeds of each detector. A detector of one seed
    adds nothing to the variance: how its seeds spread is not known. Two of one seed each are what
    ``paired_difference`` compares.

    Args:
        one: evaluations of the first recipe, one of each seed.
        other: of the second, of the same call of ``resample``.
        metric: AP, AP50, APs, AR100, ...
        of_class: name of a class; None for all.
        level: of the interval.

    Raises:
        DataError: they were not resampled alike, the objects of their ground truth differ, or there is one seed each.
        SettingError: no such number or class, or the level is not between 0 and 1.
    """
    if len(one) < 2 and len(other) < 2:
        raise DataError("there is one seed of either; paired_difference() compares two trainings")
    first, second = values_of_seeds(one, metric, of_class), values_of_seeds(other, metric, of_class)
    check_alike([*one, *other])
    support = replace(one[0].support(metric, of_class), needed=ENOUGH)
    variance = difference_variance(first, second, support, len(set(one[0].design.units)))
    difference, gaps = first.number - second.number, first.two_level(0) - second.two_level(1)
    gaps = gaps[~np.isnan(gaps)]
    interval = around(difference, variance, level)
    return PairedDifference(
        metric=metric,
        difference=difference,
        interval=interval,
        better=float(((gaps > 0).sum() + 0.5 * (gaps == 0).sum()) / len(gaps)) if len(gaps) else math.nan,
        deviation=math.sqrt(variance.whole) if interval is not None else math.nan,
        resolvable=None if interval is None else variance.half_width(level),
        variance=None if interval is None else variance,
    )


def values_of_seeds(trainings: Sequence[Resampled], metric: str, of_class: str | None) -> SeedValues:
    """A number by seed and resample.

    Raises:
        DataError: no training is given, or they were not resampled alike.
        SettingError: no such number or class.
    """
    if not trainings:
        raise DataError("there is no evaluation of any seed; give at least one")
    check_alike(trainings)
    numbers = tuple(one.number(metric, of_class) for one in trainings)
    if any(math.isnan(number) for number in numbers):
        raise SettingError(f"{metric} has no value: the ground truth has no object for it")
    return SeedValues(numbers, np.stack([one.resamples(metric, of_class) for one in trainings]))


def check_alike(evaluations: Sequence[Resampled]) -> None:
    """Reject evaluations that cannot be compared.

    Raises:
        DataError: they were not resampled alike, or the objects of their ground truth differ.
    """
    for other in evaluations[1:]:
        if other.design != evaluations[0].design:
            raise DataError("the evaluations were not resampled alike; give all to one call of resample()")
        if other.groups != evaluations[0].groups:
            raise DataError("the evaluations are of different ground truth; evaluate all on the same dataset")
