"""From which score on to keep detections of each class: chosen on one split, reported on another.

A threshold that is chosen on the images that it is judged by looks better than it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from detzoo.errors import SettingError
from detzoo.evaluation.lrp import optimal_lrp
from detzoo.evaluation.scored_classes import ScoredClass

ALLOWED: Final = "f1, lrp, or precision=0.9 (any share between 0 and 1)"


@dataclass(frozen=True)
class ThresholdRule:
    """What a threshold is to do.

    Args:
        aim: ``f1`` makes F1 as high as it can be; ``lrp`` makes the LRP error as small; ``precision`` holds a precision
            and finds as many objects as that allows.
        precision: that is to be held, 0..1; None for other aims.
    """

    aim: Literal["f1", "lrp", "precision"]
    precision: float | None = None

    def __str__(self) -> str:
        return self.aim if self.precision is None else f"{self.aim}={self.precision:g}"

    def choose(self, scored: ScoredClass) -> float | None:
        """The score of a class from which detections are kept; None where no threshold is any good.

        Args:
            scored: its detections; without an object to be found there is no threshold.
        """
        ends = scored.ends
        if not scored.objects or not len(ends):
            return None
        true = np.cumsum(scored.true)[ends - 1]
        if self.aim == "lrp":
            best = optimal_lrp(scored)
            return None if best is None else best.threshold
        if self.aim == "f1":
            f1 = 2 * true / (ends + scored.objects)
            place = int(f1.argmax())
            return float(scored.scores[ends[place] - 1]) if true[place] else None
        held = np.flatnonzero(true >= (self.precision or 0.0) * ends - 1e-9)
        return float(scored.scores[ends[held[-1]] - 1]) if len(held) else None


def threshold_rule(text: str) -> ThresholdRule:
    """The rule of ``f1``, ``lrp`` or ``precision=0.9``.

    Raises:
        SettingError: it is none of these.
    """
    if text == "f1":
        return ThresholdRule("f1")
    if text == "lrp":
        return ThresholdRule("lrp")
    name, equals, value = text.partition("=")
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if name != "precision" or not equals or not 0 < share < 1:
        raise SettingError(f"thresholds is {text!r}; allowed: {ALLOWED}")
    return ThresholdRule("precision", share)


@dataclass(frozen=True)
class Kept:
    """What is left when detections below a score are dropped.

    Args:
        true: detections that found an object.
        false: detections that did not.
        objects: to be found.
    """

    true: int
    false: int
    objects: int

    @property
    def precision(self) -> float:
        """Share of the kept detections that are right; NaN where none is kept."""
        return self.true / (self.true + self.false) if self.true + self.false else math.nan

    @property
    def recall(self) -> float:
        """Share of the objects that are found; NaN without an object."""
        return self.true / self.objects if self.objects else math.nan

    @property
    def f1(self) -> float:
        """2 TP / (detections + objects); NaN without either."""
        whole = self.true + self.false + self.objects
        return 2 * self.true / whole if whole else math.nan

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.true + other.true, self.false + other.false, self.objects + other.objects)


def kept_from(scored: ScoredClass, threshold: float | None) -> Kept:
    """A class's detections from a score on; None keeps none."""
    number = 0 if threshold is None else int((scored.scores >= threshold).sum())
    true = int(scored.true[:number].sum())
    return Kept(true, number - true, scored.objects)


@dataclass(frozen=True)
class ClassThreshold:
    """The threshold of one class.

    Args:
        score: from which detections are kept; None where none was any good: all are dropped.
        chosen: what it keeps where it was chosen.
        reported: what it keeps of other images.
    """

    score: float | None
    chosen: Kept
    reported: Kept


def class_thresholds(
    rule: ThresholdRule, chosen_on: Mapping[str, ScoredClass], reported_on: Mapping[str, ScoredClass]
) -> dict[str, ClassThreshold]:
    """Thresholds by class name.

    Args:
        rule: how they are chosen.
        chosen_on: the detections of each class on the images that choose.
        reported_on: the same on those that report; classes that the others lack are left out.
    """
    found = {}
    for name, own in chosen_on.items():
        if name in reported_on:
            score = rule.choose(own)
            found[name] = ClassThreshold(score, kept_from(own, score), kept_from(reported_on[name], score))
    return found
