"""Average precision where each image counts as often as a resample has drawn it: many resamples at once.

An image that was drawn twice gives two equal detections next to each other, and two objects. So an image's weight is
added wherever its detections and objects are counted. Precision rises over a run of equal true positives and recall
stays over one of false positives: the numbers are those of a dataset in which the image lies twice.

Letters: T IoU thresholds, D detections of a class, I images, B resamples, S sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.evaluation.rankings import Bools, Ints, Ranking

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[Any]
"""float32 or float64: one precision throughout a walk."""

EXACT: Final = 1 << 24
"""Whole numbers up to here are exact in float32."""
MOST_OBJECTS: Final = 16_000
"""With more objects than these, float32 could take a recall next to a recall point for the point itself."""


class Draws:
    """How often each resample has drawn each image.

    Args:
        times: [I,B], whole numbers.
        exact: walk in float64. float32 takes half the time, and its AP is right to 6 digits.
    """

    def __init__(self, times: NDArray[Any], *, exact: bool = False) -> None:
        self.times: NDArray[np.float32] = np.ascontiguousarray(times, dtype=np.float32)
        self.number = self.times.shape[1]
        self.exact = exact
        self._tensor = torch.from_numpy(self.times)
        self._most = float(self.times.max(initial=0))

    def sums(self, images: Ints, starts: Ints, times: Ints | None = None) -> Numbers:
        """Draws of runs of images, summed [S,B].

        Args:
            images: int64 [N]: numbers of images, run after run.
            starts: int64 [S]: where each run begins; it ends where the next one does. It may be empty.
            times: int64 [N]: how often each entry counts; None for once.
        """
        if len(images) == 0:
            return np.zeros((len(starts), self.number), dtype=np.float32)
        largest = self._most * (len(images) if times is None else int(times.sum()))
        weights = self._tensor if largest < EXACT else self._tensor.double()
        each = None if times is None else torch.from_numpy(times).to(weights.dtype)
        summed: Numbers = torch.nn.functional.embedding_bag(
            torch.from_numpy(images), weights, torch.from_numpy(starts), mode="sum", per_sample_weights=each
        ).numpy()
        return summed

    def sum(self, images: Ints, times: Ints | None = None) -> Floats:
        """Draws of some images, summed: float64 [B]."""
        summed: Floats = self.sums(images, np.zeros(1, dtype=np.int64), times)[0].astype(np.float64)
        return summed


class Reached:
    """How much of the recall axis a number of found objects reaches, the point at 0 left out.

    Args:
        objects: float64 [B]: to be found.
        points: recalls from 0 to 1 in equal steps at which precision is read, as an implementation compares them with
            ``found / objects``; empty for the whole axis, of which each object is an equal share.
        dtype: to count in.
    """

    def __init__(self, objects: Floats, points: Sequence[float], dtype: type[Any]) -> None:
        self.whole, self.at_zero = (len(points), 1) if len(points) else (1, 0)
        last = len(points) - 1 if len(points) else 1
        self._floor = bool(len(points))
        # A little more, so that a recall of exactly a point is not rounded to below it.
        more = 0.0 if not self._floor else 2.0**-21 if dtype is np.float32 else 1e-12
        self._scale = (last / np.maximum(objects, 1) * (1 + more)).astype(dtype)
        # The implementation's point may be a little more than the recall that it stands for: 57 * 0.01 > 57 / 100. In
        # resamples in which a recall may be exactly that of such a point, what is reached is looked up.
        missed = np.array([point > n / last for n, point in enumerate(points)], dtype=bool)
        number = objects.astype(np.int64)
        rounded = ((np.flatnonzero(missed)[:, None] * number) % last == 0).any(axis=0)
        self._rounded = np.flatnonzero(rounded)
        if len(self._rounded):
            own = np.maximum(number[self._rounded], 1)
            steps = np.arange(own.max() + 1)[:, None] * last
            point = np.minimum(steps // own, last)
            self._table = (point - (missed[point] & (steps % own == 0))).astype(dtype).ravel()
            self._column = np.arange(len(own))

    def __call__(self, found: Numbers, out: Numbers) -> None:
        """Write what found objects [t,B] reach into ``out`` [t,B]."""
        np.multiply(found, self._scale, out=out)
        if self._floor:
            np.floor(out, out=out)
        if len(self._rounded):
            cells = found.take(self._rounded, axis=1, mode="clip").astype(np.intp)  # clip: several times faster
            cells *= len(self._column)
            cells += self._column
            out[:, self._rounded] = self._table.take(cells, mode="clip")


@dataclass(frozen=True)
class _Steps:
    """A ranking as a walk needs it: rows that are a true positive at some IoU, or counted at some only.

    Args:
        images: int64 [V] of rows.
        true: bool [T,V].
        counted: bool [T,V].
        between: int64 [N]: images of false positives at every IoU, those before the first row first.
        starts: int64 [V]: where those before each row begin.
    """

    images: Ints
    true: Bools
    counted: Bools
    between: Ints
    starts: Ints


def _steps(ranking: Ranking) -> _Steps:
    end = int(np.flatnonzero(ranking.true.any(axis=0)).max(initial=-1)) + 1  # what follows the last one plays no part
    true, counted = ranking.true[:, :end], ranking.counted[:, :end]
    plain = counted.all(axis=0) & ~true.any(axis=0)
    rows, false = np.flatnonzero(~plain), np.flatnonzero(plain)
    return _Steps(
        images=ranking.images[rows],
        true=true[:, rows],
        counted=counted[:, rows],
        between=ranking.images[false],
        starts=np.searchsorted(false, np.concatenate([[-1], rows[:-1]])) if len(rows) else np.zeros(0, dtype=np.int64),
    )


def average_precisions(ranking: Ranking, draws: Draws, *readings: Sequence[float]) -> list[Floats]:
    """AP by IoU and resample [T,B] under each way of reading precision, 0..1; NaN where no object was drawn.

    The precision at a recall is the best at that recall or beyond. So the ranking is walked from its end: whatever a
    detection adds to the best precision so far, it adds to all recall points up to its own.

    Args:
        ranking: of one class.
        draws: of images.
        readings: of each, recalls at which precision is read, see ``Reached``; empty for the area under the curve.
    """
    objects = draws.sum(ranking.objects)
    dtype: type[Any] = np.float64 if draws.exact or objects.max(initial=0) > MOST_OBJECTS else np.float32
    reached = [Reached(objects, points, dtype) for points in readings]
    totals = []
    for walked in _walked(_steps(ranking), draws, reached, dtype):
        total = walked.astype(np.float64)
        total[:, objects == 0] = np.nan
        totals.append(total)
    return totals


def _walked(steps: _Steps, draws: Draws, reached: Sequence[Reached], dtype: type[Any]) -> list[Numbers]:
    """The walk from the last row to the first [T,B]; IoUs at which a row changes nothing are left alone."""
    thresholds = len(steps.true)
    between = draws.sums(steps.between, steps.starts).astype(dtype, copy=False)
    drawn = draws.times[steps.images].astype(dtype, copy=False)
    found = _totals(steps.images, steps.true, draws).astype(dtype, copy=False)
    alike = np.array_equal(
        steps.counted, np.broadcast_to(steps.counted[:1], steps.counted.shape)
    )  # without ignored boxes one count serves all IoUs
    counted = steps.counted[:1] if alike else steps.counted
    seen = _totals(steps.images, counted, draws).astype(dtype, copy=False) + between.sum(axis=0)
    best, gained, share = (np.zeros_like(found) for _ in range(3))
    totals = [np.zeros_like(found) for _ in reached]
    last = np.where(steps.true, np.arange(1, thresholds + 1)[:, None], 0).max(axis=0, initial=0)
    first: Ints = counted.argmax(axis=0)
    whole: Bools = np.asarray(counted.all(axis=0))
    right = (steps.true.sum(axis=0) == last).tolist()  # true at every IoU up to its highest
    after = (counted.sum(axis=0) == len(counted) - first).tolist()
    np.add(between, drawn, out=between, where=whole[:, None])  # both are taken off at once
    until, since, everywhere = last.tolist(), first.tolist(), [bool(own) for own in whole]
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing was drawn yet: fmax passes over it
        for row in range(len(until) - 1, -1, -1):
            if t := until[row]:  # below t may be IoUs at which the row is false: its precision is no better one there
                gain, to, own = gained[:t], share[:t], found[:t]
                np.divide(own, seen[:t], out=gain)
                np.fmax(gain, best[:t], out=gain)
                gain -= best[:t]
                best[:t] += gain
                for reading, total in zip(reached, totals, strict=True):
                    reading(own, to)
                    to *= gain
                    total[:t] += to
                own -= drawn[row] if right[row] else drawn[row] * steps.true[:t, row, None]
            if not everywhere[row]:
                at = since[row]
                seen[at:] -= drawn[row] if after[row] else drawn[row] * counted[at:, row, None]
            seen -= between[row]
    return [
        (total + best * dtype(reading.at_zero)) / dtype(reading.whole)
        for reading, total in zip(reached, totals, strict=True)
    ]


def _totals(images: Ints, flags: Bools, draws: Draws) -> Numbers:
    """Draws of the flagged rows [T,B]."""
    number = flags.sum(axis=1)
    return draws.sums(np.broadcast_to(images, flags.shape)[flags], np.cumsum(number) - number)
