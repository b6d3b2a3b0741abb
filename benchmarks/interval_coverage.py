"""How often the confidence intervals of AP cover the truth: synthetic detections of known expected AP.

    python benchmarks/interval_coverage.py --out docs/results/interval-coverage.json

Two detectors of unequal skill look at the same images. An image is more or less difficult, each object too, for both;
five classes are in 90 % to 2 % of images, with two objects each on average. APf is the mean of the three frequent ones.
An object gives a detection of some overlap (true at 0 to 10 of COCO's IoU thresholds) and score; background gives false
positives. The truth is the AP of 800,000 such images, counted by a formula of its own. Each repetition draws a test
set, makes the intervals as ``detzoo eval --intervals`` does, and looks whether the truth lies inside.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from detzoo.evaluation.intervals import ENOUGH, LEVEL, Support, interval_of
from detzoo.evaluation.matches import Matches
from detzoo.evaluation.rankings import Ranking, empty_ranking
from detzoo.evaluation.resampled_numbers import Resampled, paired_difference, resample
from detzoo.runtime.environment import versions

Floats: TypeAlias = NDArray[np.float64]

PRESENT: Final = {"in 90 %": 0.9, "in 50 %": 0.5, "in 20 %": 0.2, "in 5 %": 0.05, "in 2 %": 0.02}
SKILLS: Final = (0.5, 0.35)
BINS: Final = (1, 5, 10, 20, 50, 200, 1001)
METRICS: Final = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}
FREQUENT: Final = ("in 90 %", "in 50 %", "in 20 %")
"""Classes whose mean is APf."""


@dataclass(frozen=True)
class Sample:
    """One detector on one test set, as ``resample`` takes it."""

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    matches: Matches
    groups: None = None


def rankings(images: int, rng: Generator) -> list[dict[str, Ranking]]:
    """Class -> ranking of both detectors on the same images."""
    difficulty = rng.normal(size=images)
    made: list[dict[str, Ranking]] = [{} for _ in SKILLS]
    for name, share in PRESENT.items():
        number = (rng.random(images) < share) * (1 + rng.poisson(1, images))
        objects = np.repeat(np.arange(images), number)
        hardness = rng.normal(size=len(objects))
        for own, skill in zip(made, SKILLS, strict=True):
            quality = skill - 0.5 * difficulty[objects] - 0.7 * hardness + 0.7 * rng.normal(size=len(objects))
            seen = quality > -1.5
            reached = np.clip(np.floor(5 + 3 * quality), 0, 10)[seen]
            scores = (1 + 0.8 * (quality + 0.7 * rng.normal(size=len(objects))))[seen]
            false = np.repeat(np.arange(images), rng.poisson(0.1 + 0.7 * (number > 0)))
            false_scores = rng.normal(size=len(false)) - 0.8 + 0.4 * difficulty[false]
            order = np.argsort(-np.concatenate([scores, false_scores]), kind="stable")
            true = np.arange(10)[:, None] < np.concatenate([reached, np.zeros(len(false))])[order]
            where = np.concatenate([objects[seen], false])[order]
            own[name] = Ranking(where, np.zeros_like(where), true, np.ones_like(true), objects)
    return made


def precision_by_iou(ranking: Ranking) -> Floats:
    """AP at each IoU [10]: precision at 101 recalls, by a formula of its own."""
    found = np.cumsum(ranking.true, axis=1)
    precision = found / np.arange(1, found.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    points = np.linspace(0, 1, 101)
    values = []
    for row, best in zip(found / max(1, len(ranking.objects)), envelope, strict=True):
        at = np.searchsorted(row, points)
        values.append(np.append(best, 0.0)[np.minimum(at, len(best))].mean())
    return np.array(values)


def numbers(of_class: dict[str, Floats]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Class -> AP by IoU -> numbers of all classes, and by class."""
    per_class = {name: {m: float(own[part].mean()) for m, part in METRICS.items()} for name, own in of_class.items()}
    whole = {m: float(np.nanmean([own[m] for own in per_class.values()])) for m in METRICS}
    return whole | {"APf": float(np.nanmean([per_class[name]["AP"] for name in FREQUENT]))}, per_class


def sample(own: dict[str, Ranking], images: int) -> Sample:
    """With its numbers."""
    nothing = empty_ranking()
    precision = {n: precision_by_iou(r) if len(r.objects) else np.full(10, np.nan) for n, r in own.items()}
    sizes = {place: [ranking, nothing, nothing, nothing] for place, ranking in enumerate(own.values())}
    frequent = [place for place, name in enumerate(own) if name in FREQUENT]
    matches = Matches(range(images), dict(enumerate(own)), sizes, (100,), frequencies={"APf": frequent})
    return Sample(*numbers(precision), matches)


def truth(images: int, parts: int) -> list[tuple[dict[str, float], dict[str, dict[str, float]]]]:
    """Numbers of both detectors on very many images, in parts that fit in memory."""
    found = [rankings(images // parts, np.random.default_rng([1, part])) for part in range(parts)]
    return [
        numbers({name: np.mean([precision_by_iou(part[n][name]) for part in found], axis=0) for name in PRESENT})
        for n in range(len(SKILLS))
    ]


class Tally:
    """How often intervals of one kind cover; those that are not given, for too few images, are looked at as well."""

    def __init__(self) -> None:
        self.covered = self.low = self.high = self.other = self.made = self.given = 0

    def add(self, values: Floats, support: Support, point: float, true: float, *, corrected: bool) -> None:
        """One interval, and what it would be with the correction for bias, or without."""
        if support.freedom < 1:
            return
        anyway = replace(support, needed=0)
        with_it, without = interval_of(values, anyway, LEVEL, point), interval_of(values, anyway, LEVEL)
        interval, other = (with_it, without) if corrected else (without, with_it)
        if interval is None or other is None:
            return
        self.made += 1
        self.given += support.is_enough
        self.low += true < interval.low
        self.high += true > interval.high
        self.covered += interval.low <= true <= interval.high
        self.other += other.low <= true <= other.high

    def as_dict(self) -> dict[str, Any]:
        """Percent."""
        shares = {"covered": self.covered, "truth_below": self.low, "truth_above": self.high, "other": self.other}
        percent = {name: round(100 * number / max(1, self.made), 1) for name, number in shares.items()}
        return {"intervals": self.made, "given": self.given} | percent


def test_set(images: int, repetition: int, resamples: int) -> list[Resampled]:
    """Both detectors on one test set."""
    both = rankings(images, np.random.default_rng([2, images, repetition]))
    return resample([sample(own, images) for own in both], resamples=resamples, seed=repetition)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="50,200,1000")
    parser.add_argument("--repeat", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--truth", type=int, default=800_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    known = truth(arguments.truth, 4)
    by_size: dict[str, dict[str, Tally]] = {}
    by_images: dict[str, dict[str, Tally]] = {name: defaultdict(Tally) for name in ("class", "difference of a class")}
    for images in map(int, arguments.images.split(",")):
        tallies = by_size[str(images)] = defaultdict(Tally)
        for repetition in range(arguments.repeat):
            both = test_set(images, repetition, arguments.resamples)
            for metric in (*METRICS, "APf"):
                count(both, known, metric, None, tallies[metric], tallies[f"difference of {metric}"])
            for metric in METRICS:
                for name in PRESENT:
                    behind = both[0].groups[name][""]
                    if behind:
                        place = int(np.searchsorted(BINS, behind, side="right"))
                        label = f"{metric}, {BINS[place - 1]} to {BINS[place] - 1} images"
                        kinds = [by_images[kind][label] for kind in by_images]
                        count(both, known, metric, name, kinds[0], kinds[1])
    result = {
        "what": "percent of intervals that cover the truth, level 95; given: how many had enough images to be shown; "
        "other: covered if numbers were not corrected for bias, and differences were",
        "repetitions": arguments.repeat,
        "resamples": arguments.resamples,
        "truth": [metrics for metrics, _ in known],
        "all_classes_by_images": {n: {k: t.as_dict() for k, t in own.items()} for n, own in by_size.items()},
        "by_images_with_objects": {
            kind: {label: own[label].as_dict() for label in sorted(own, key=order)} for kind, own in by_images.items()
        },
        "versions": {name: own for name, own in versions().items() if name in {"python", "numpy", "torch"}},
    }
    text = json.dumps(result, indent=1) + "\n"
    if arguments.out is not None:
        arguments.out.write_text(text)
    print(text)


def order(label: str) -> tuple[str, int]:
    metric, words = label.split(", ")
    return metric, int(words.split()[0])


def count(
    both: list[Resampled],
    known: list[tuple[dict[str, float], dict[str, dict[str, float]]]],
    metric: str,
    of_class: str | None,
    own: Tally,
    difference: Tally,
) -> None:
    """Add the interval of the first detector, and that of the difference."""
    true = [metrics[metric] if of_class is None else per_class[of_class][metric] for metrics, per_class in known]
    values = [each.resamples(metric, of_class) for each in both]
    support = both[0].support(metric, of_class)
    own.add(values[0], support, both[0].number(metric, of_class), true[0], corrected=True)
    pair = paired_difference(both[0], both[1], metric, of_class)
    difference.add(
        values[0] - values[1], replace(support, needed=ENOUGH), pair.difference, true[0] - true[1], corrected=False
    )


if __name__ == "__main__":
    main()
