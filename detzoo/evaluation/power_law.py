"""AP over the number of training images: a power law through the points, and what more images would give by it.

    AP(n) = a - b n^-c

with c on a grid from .05 (nearly a logarithm) to 2, and a and b of any sign by least squares, so that a curve that
falls is seen to fall; no prediction is above 1. Its uncertainty is that of the points: each draw takes one resample of
the test images, the same for all points, and moves each point by the luck of its seeds, normal with the variance that
all points together have over their seeds (divided by a chi-square of its degrees of freedom, so that the spread of
draws is Student's). Each draw is fitted, and an interval is between quantiles of what the fits say.

Assumed: the curve is a power law also beyond the last point, further images are like these, and seeds spread alike at
every number of images. The choice of the images in a part is not among what is drawn.

Source: Hestness et al., "Deep Learning Scaling is Predictable, Empirically", arXiv:1712.00409, for the form; Viering
and Loog, "The Shape of Learning Curves", arXiv:2103.10948, for how far it may be trusted.

Letters: F points, k seeds of a point, B draws, M numbers of images that are asked for, C exponents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detzoo.evaluation.intervals import LEVEL, Interval, Support
from detzoo.evaluation.seeds import SeedValues
from detzoo.evaluation.weighted_precision import Floats

EXPONENTS: Final = np.geomspace(0.05, 2.0, 400)
FEWEST_POINTS: Final = 3
"""The power law has three parameters."""


@dataclass(frozen=True)
class CurvePoint:
    """A detector trained on so many images.

    Args:
        images: that it learned from.
        values: its AP by seed, and by seed and resample of the test images.
    """

    images: int
    values: SeedValues


@dataclass(frozen=True)
class PowerLaw:
    """``AP(n) = a - b (n / unit)^-c``, several at once.

    Args:
        a: float64 [B], where it ends.
        b: float64 [B].
        c: float64 [B].
        unit: images.
    """

    a: Floats
    b: Floats
    c: Floats
    unit: float

    def at(self, images: Sequence[float] | Floats) -> Floats:
        """AP at numbers of images [M]: float64 [B,M], at most 1."""
        scaled = np.asarray(images, np.float64)[None] / self.unit
        ap: Floats = np.minimum(1.0, self.a[:, None] - self.b[:, None] * scaled ** -self.c[:, None])
        return ap


def fit_power_law(images: Sequence[float], values: Floats, weights: Sequence[float] | None = None) -> PowerLaw:
    """The power laws of least squares.

    Args:
        images: of the points [F], at least three different ones.
        values: AP of each draw at each point, float64 [B,F].
        weights: of the points [F]; None: all alike.

    Raises:
        ValueError: there are fewer than three different numbers of images.
    """
    if len(set(images)) < FEWEST_POINTS:
        raise ValueError(f"a power law needs {FEWEST_POINTS} different numbers of images, found {sorted(set(images))}")
    unit = float(max(images))
    share = np.ones(len(images)) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()
    best = np.full(len(values), np.inf)
    found = np.zeros((3, len(values)))
    mean_y = values @ share  # [B]
    for c in EXPONENTS:
        x = (np.asarray(images, np.float64) / unit) ** -c  # [F]
        away = x - x @ share
        slope = (values * share) @ away / (share @ away**2)  # [B]; -b
        a = mean_y - slope * (x @ share)
        rest = ((values - a[:, None] - slope[:, None] * x) ** 2) @ share  # [B]
        better = rest < best - 1e-15
        best = np.where(better, rest, best)
        found = np.where(better, np.stack([a, -slope, np.full(len(values), c)]), found)
    return PowerLaw(found[0], found[1], found[2], unit)


@dataclass(frozen=True)
class LearningCurve:
    """AP over the number of training images.

    Args:
        points: by number of images.
        law: the fit of the means; None where there is none.
        drawn: the fit of each draw.
        why: there is no fit; empty where there is one.
        told: whether AP at the most images is told from AP at the fewest.
    """

    points: tuple[CurvePoint, ...]
    law: PowerLaw | None = None
    drawn: PowerLaw | None = None
    why: str = ""
    told: bool = False

    def band(self, images: Sequence[float], level: float = LEVEL) -> tuple[Floats, Floats, Floats]:
        """The fit at numbers of images [M], and the ends of its interval, each float64 [M]."""
        assert self.law is not None
        assert self.drawn is not None
        low, high = np.quantile(self.drawn.at(images), [(1 - level) / 2, (1 + level) / 2], axis=0)
        return self.law.at(images)[0], low, high

    def gain(self, more: int, level: float = LEVEL) -> Gain:
        """What so many more images than the most are expected to give."""
        if self.law is None or self.drawn is None:
            return Gain(more, why=self.why)
        most = self.points[-1].images
        ends = [float(most), float(most + more)]
        here, there = self.law.at(ends)[0]
        drawn = np.diff(self.drawn.at(ends))[:, 0]
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        found = Gain(more, float(there - here), Interval(float(low), float(high), level))
        if not self.told:
            why = f"AP at {most} images is not told from AP at {self.points[0].images}"
        elif (high - low) / 2 > abs(there - here):
            why = f"{100 * (there - here):+.1f} AP ({100 * low:.1f} to {100 * high:.1f}) is more uncertain than large"
        else:
            return found
        return Gain(more, found.expected, found.interval, why)


@dataclass(frozen=True)
class Gain:
    """What more training images are expected to give.

    Args:
        more: images.
        expected: AP; None where there is no fit.
        interval: of it.
        why: it cannot be said; empty where it can.
    """

    more: int
    expected: float | None = None
    interval: Interval | None = None
    why: str = ""

    def words(self) -> str:
        """``600 more images are expected to give +2.1 AP (0.4 to 3.9)``."""
        if self.why or self.expected is None or self.interval is None:
            return f"what {self.more} more images would give cannot be said from these points: {self.why}"
        low, high = 100 * self.interval.low, 100 * self.interval.high
        return f"{self.more} more images are expected to give {100 * self.expected:+.1f} AP ({low:.1f} to {high:.1f})"


def learning_curve(points: Sequence[CurvePoint], support: Support, seed: int = 0) -> LearningCurve:
    """The curve through the points, with its uncertainty.

    Args:
        points: trainings of one recipe on parts of one training set; the same resamples of the test images for all.
        support: test images (or groups) with objects behind the AP.
        seed: of the draws.
    """
    ordered = tuple(sorted(points, key=lambda point: point.images))
    numbers = [point.images for point in ordered]
    freedom = sum(len(point.values.numbers) - 1 for point in ordered)
    if len(set(numbers)) < FEWEST_POINTS:
        return LearningCurve(ordered, why=f"a power law needs {FEWEST_POINTS} numbers of images")
    if not freedom:
        return LearningCurve(ordered, why="one seed does not tell how much of the curve is luck; train several")
    if not support.is_enough:
        return LearningCurve(ordered, why="too few test images have objects of a class")
    means = np.array([point.values.number for point in ordered])
    seeds = [len(point.values.numbers) for point in ordered]
    draws = moved_points(ordered, support, freedom, seed)
    rise = draws[:, -1] - draws[:, 0]
    low, high = np.quantile(rise, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    law, drawn = fit_power_law(numbers, means[None], seeds), fit_power_law(numbers, draws, seeds)
    return LearningCurve(ordered, law, drawn, told=not low <= 0 <= high)


def moved_points(points: Sequence[CurvePoint], support: Support, freedom: int, seed: int) -> Floats:
    """Draws of the points, float64 [B,F]: other test images, the same for all, and other seeds.

    Args:
        points: in order.
        support: of the test images; their part is widened where they are few.
        freedom: seeds less one, over all points.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    images = np.stack([point.values.by_resample for point in points], axis=1)
    images = images[~np.isnan(images).any(axis=1)]
    images = (images - images.mean(axis=0)) * np.sqrt(support.wider)
    squares = sum(float(np.sum((np.array(p.values.numbers) - p.values.number) ** 2)) for p in points)
    spread = np.sqrt(squares / rng.chisquare(freedom, len(images)))  # [B]: s sqrt(f / chi2), one for all points
    each = 1 / np.sqrt([len(point.values.numbers) for point in points])
    luck = spread[:, None] * each * rng.standard_normal(images.shape)
    drawn: Floats = np.array([point.values.number for point in points]) + images + luck
    return drawn
