"""An evaluation's numbers with those of its resamples, and how two evaluations of the same images differ.

Letters: B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from detzoo.errors import DataError, SettingError
from detzoo.evaluation.intervals import ENOUGH, ENOUGH_AT_50, LEVEL, Interval, Support, interval_of
from detzoo.evaluation.matches import Matches
from detzoo.evaluation.resampling import SIZES, Values, resampled, unit_numbers
from detzoo.evaluation.settling import Variance
from detzoo.evaluation.weighted_precision import Floats
from detzoo.schema.describing import unknown

RESAMPLES: Final = 2000


class Counted(Protocol):
    """What is asked of an evaluation."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Numbers of all classes."""

    @property
    def per_class(self) -> Mapping[str, Mapping[str, float]]:
        """Class name -> numbers."""

    @property
    def matches(self) -> Matches:
        """What they are sums of."""

    @property
    def groups(self) -> Mapping[Any, Any] | None:
        """Image id -> group of images; None where each stands for itself."""


@dataclass(frozen=True)
class Design:
    """How images were drawn; two evaluations are compared under the same one alone.

    Args:
        images: ids.
        units: number of the group of each image.
        resamples: how many.
        seed: of the draws.
        grouped: whether groups of images were drawn.
    """

    images: tuple[Any, ...]
    units: tuple[int, ...]
    resamples: int
    seed: int
    grouped: bool

    @property
    def unit(self) -> str:
        """What was drawn."""
        return "groups of images" if self.grouped else "images"


@dataclass(frozen=True)
class Resampled:
    """An evaluation's numbers, and the same for each resample of its images.

    Args:
        metrics: the numbers, 0..1.
        per_class: class name -> numbers.
        values: the same by resample.
        groups: class name -> size (``""`` for all, ``s``, ``m``, ``l``) -> drawn units with an object of it.
        members: APr, APc, APf -> class names.
        design: how images were drawn.
    """

    metrics: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    values: Values
    groups: Mapping[str, Mapping[str, int]]
    members: Mapping[str, Sequence[str]]
    design: Design

    def number(self, metric: str, of_class: str | None = None) -> float:
        """A number of the evaluation itself.

        Raises:
            SettingError: it has no such number or class.
        """
        self.resamples(metric, of_class)
        return (self.metrics if of_class is None else self.per_class[of_class])[metric]

    def resamples(self, metric: str, of_class: str | None = None) -> Floats:
        """A number by resample [B]; NaN where no object was drawn.

        Raises:
            SettingError: it has no such number or class.
        """
        if of_class is not None and of_class not in self.per_class:
            raise SettingError(unknown("class", of_class, self.per_class))
        own = self.metrics if of_class is None else self.per_class[of_class]
        values = self.values.metrics if of_class is None else self.values.per_class[of_class]
        if metric not in own or metric not in values:
            raise SettingError(unknown("metric", metric, [name for name in own if name in values]))
        return values[metric]

    def interval(self, metric: str, of_class: str | None = None, *, level: float = LEVEL) -> Interval | None:
        """The confidence interval of a number; None where too few images have objects for one.

        Args:
            metric: AP, AP50, APs, AR100, voc07_AP50, ...
            of_class: name of a class; None for all.
            level: how often such intervals cover the truth.

        Raises:
            SettingError: no such number or class, or the level is not between 0 and 1.
        """
        values, support = self.resamples(metric, of_class), self.support(metric, of_class)
        return interval_of(values, support, level, self.number(metric, of_class))

    def support(self, metric: str, of_class: str | None = None) -> Support:
        """What stands behind a number."""
        name = metric.removeprefix("mask_")
        size = name[-1] if name in {f"{kind}{end}" for kind in ("AP", "AR") for end in SIZES[1:]} else ""
        classes = self.members.get(metric, list(self.groups)) if of_class is None else [of_class]
        needed = ENOUGH_AT_50 if name.endswith("50") else ENOUGH
        return Support(tuple(self.groups[own][size] for own in classes if self.groups[own][size]), needed)

    def too_few(self, metric: str, of_class: str | None = None) -> str:
        """Why there is no interval, or nothing."""
        support = self.support(metric, of_class)
        if support.is_enough:
            return ""
        least = min(support.groups, default=0)
        where = "" if len(support.groups) < 2 else "of one class "
        return f"too few: objects {where}in {least} {self.design.unit}; {support.needed} are needed"


def resample(
    evaluations: Sequence[Counted],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Mapping[Any, Any] | None = None,
) -> list[Resampled]:
    """Resample the images of several evaluations, the same images for all.

    Args:
        evaluations: of the same images.
        resamples: how many.
        seed: of the draws.
        groups: image id -> group; groups are drawn as a whole (frames of a video, tiles of a scene). None: those of
            the evaluations, or images where they have none.

    Raises:
        DataError: the evaluations are of different images or groups, or an image has no group.
        SettingError: fewer than one resample.
    """
    if groups is None and evaluations:
        groups = evaluations[0].groups
        if any(other.groups != groups for other in evaluations[1:]):
            raise DataError("the evaluations have different groups of images; evaluate all on the same dataset")
    matches = [evaluation.matches for evaluation in evaluations]
    values = resampled(matches, resamples=resamples, seed=seed, groups=groups)
    found = []
    for evaluation, own, drawn in zip(evaluations, matches, values, strict=True):
        units = unit_numbers(own.images, groups)
        design = Design(tuple(own.images), tuple(units.tolist()), resamples, seed, groups is not None)
        members = {name: [own.names[category] for category in ids] for name, ids in own.frequencies.items()}
        behind = units_with_objects(own, design)
        found.append(Resampled(evaluation.metrics, evaluation.per_class, drawn, behind, members, design))
    return found


def units_with_objects(matches: Matches, design: Design) -> dict[str, dict[str, int]]:
    """Class name -> size -> drawn units with an object of it that counts."""
    units = np.array(design.units, dtype=np.int64)
    return {
        matches.names[category]: {
            size: len(np.unique(units[ranking.objects])) for size, ranking in zip(SIZES, sizes, strict=True)
        }
        for category, sizes in matches.coco.items()
    }


@dataclass(frozen=True)
class PairedDifference:
    """What one evaluation is better by than another on the same images.

    Args:
        metric: name of the number.
        difference: the first one's number less the other's.
        interval: of the difference; None where too few images have objects for one.
        better: share of resamples in which the first one is better, 0..1; equal ones count by half.
        deviation: standard deviation of the difference.
        resolvable: half the width of the interval: the smallest difference that, once seen, these images tell from
            none; None where too few have objects.
        variance: of the difference, see ``detzoo.evaluation.settling``; None where too few have objects.
    """

    metric: str
    difference: float
    interval: Interval | None
    better: float
    deviation: float
    resolvable: float | None
    variance: Variance | None

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that 80 % of such test sets tell from none; None where too few have objects."""
        return None if self.variance is None else self.variance.detectable()

    @property
    def more_images(self) -> int | None:
        """How many more images (or groups, where they were drawn) would settle the difference in 80 % of the cases.

        See ``Variance.more_units`` for the formula and what is assumed. 0 where it is settled; None where too few
        images have objects, or where a thousand times as many images would not do.
        """
        if self.settled or self.variance is None:
            return 0 if self.settled else None
        return self.variance.more_units(self.difference)

    @property
    def more_seeds(self) -> int | None:
        """How many more seeds of each detector would settle the difference in 80 % of the cases.

        See ``Variance.more_seeds``. 0 where it is settled; None where no detector has several seeds, or where more of
        them would not do.
        """
        if self.settled or self.variance is None:
            return 0 if self.settled else None
        return self.variance.more_seeds(self.difference)

    @property
    def settled(self) -> bool:
        """Whether the images tell the two apart: the interval leaves out 0."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def paired_difference(
    one: Resampled, other: Resampled, metric: str = "AP", of_class: str | None = None, *, level: float = LEVEL
) -> PairedDifference:
    """What one of two evaluations of the same resamples is better by.

    Args:
        one: of ``resample``.
        other: of the same call, or of one with the same images, groups, number and seed.
        metric: AP, AP50, APs, AR100, voc07_AP50, ...
        of_class: name of a class; None for all.
        level: of the interval.

    Raises:
        DataError: they were not resampled alike, or the objects of their ground truth differ.
        SettingError: no such number or class, or the level is not between 0 and 1.
    """
    if one.design != other.design:
        raise DataError("the two evaluations were not resampled alike; give both to one call of resample()")
    if one.groups != other.groups:
        raise DataError("the two evaluations are of different ground truth; evaluate both on the same dataset")
    first, second = one.resamples(metric, of_class), other.resamples(metric, of_class)
    gaps = (first - second)[~np.isnan(first - second)]
    support = replace(one.support(metric, of_class), needed=ENOUGH)  # what both lack at 1 falls out of a difference
    deviation = float(np.std(gaps, ddof=1)) if len(gaps) > 1 else math.nan
    variance = (
        Variance(deviation**2, support, len(set(one.design.units))) if support.is_enough and len(gaps) > 1 else None
    )
    return PairedDifference(
        metric=metric,
        difference=one.number(metric, of_class) - other.number(metric, of_class),
        interval=interval_of(gaps, support, level),
        better=float(((gaps > 0).sum() + 0.5 * (gaps == 0).sum()) / len(gaps)) if len(gaps) else math.nan,
        deviation=deviation,
        resolvable=None if variance is None else variance.half_width(level),
        variance=variance,
    )
