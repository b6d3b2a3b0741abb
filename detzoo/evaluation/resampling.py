"""All numbers of an evaluation under any choice of its images: the same choices for several detectors.

Images are drawn with replacement (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979), or groups of them:
frames of one video and tiles of one scene are not independent.

Letters: K categories, A sizes (all, s, m, l), I images, B resamples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from detzoo.errors import DataError, SettingError
from detzoo.evaluation.coco_map import MAX_DETECTIONS
from detzoo.evaluation.matches import Matches
from detzoo.evaluation.rankings import Ints, Ranking
from detzoo.evaluation.weighted_precision import Draws, Floats, average_precisions
from detzoo.runtime.parallel import cores

RECALLS: Final = tuple(float(point) for point in np.linspace(0.0, 1.0, 101))
"""COCO's, rounded as pycocotools rounds them."""
SIZES: Final = ("", "s", "m", "l")
VALUES_IN_MEMORY: Final = 1 << 24
"""Draws of images that are held at once."""

ByClass: TypeAlias = dict[int, dict[str, Floats]]


@dataclass(frozen=True)
class Values:
    """Numbers of one evaluation under B choices of images.

    Args:
        metrics: name -> float64 [B], 0..1; NaN where no object was drawn.
        per_class: class name -> metric -> float64 [B].
    """

    metrics: dict[str, Floats]
    per_class: dict[str, dict[str, Floats]]


def unit_numbers(images: Sequence[Any], groups: Mapping[Any, Any] | None) -> Ints:
    """Number of the group of each image, from 0; without groups each image is one.

    Raises:
        DataError: an image has no group.
    """
    if groups is None:
        return np.arange(len(images))
    missing = [image for image in images if image not in groups]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images have no group (the first: {missing[0]!r}); every image needs one"
        )
    number = {group: n for n, group in enumerate(dict.fromkeys(groups[image] for image in images))}
    return np.array([number[groups[image]] for image in images], dtype=np.int64)


def drawn(units: Ints, resamples: int, seed: int, *, exact: bool = False) -> Iterator[Draws]:
    """Resamples in blocks that fit in memory; a seed gives the same ones for every detector.

    Args:
        units: int64 [I]: number of the group of each image.
        resamples: how many.
        seed: of the draws.
        exact: see ``Draws``.

    Raises:
        SettingError: fewer than one resample.
    """
    if resamples < 1:
        raise SettingError(f"resamples is {resamples}; it must be 1 or more")
    rng = np.random.default_rng(seed)
    number = int(units.max(initial=-1)) + 1
    block = max(1, VALUES_IN_MEMORY // max(1, len(units)))
    for first in range(0, resamples, block):
        size = min(block, resamples - first)
        chosen = rng.integers(0, max(1, number), (size, number)) + np.arange(size)[:, None] * number
        times = np.bincount(chosen.ravel(), minlength=size * number).reshape(size, number)
        yield Draws(times.T[units], exact=exact)


def resampled(
    matches: Sequence[Matches],
    *,
    resamples: int = 2000,
    seed: int = 0,
    groups: Mapping[Any, Any] | None = None,
) -> list[Values]:
    """The numbers of several evaluations of the same images, each resample the same images for all.

    Args:
        matches: of each evaluation.
        resamples: how many.
        seed: of the draws.
        groups: image id -> group that is drawn as a whole; None draws images.

    Raises:
        DataError: the evaluations are of different images, or an image has no group.
        SettingError: fewer than one resample.
    """
    if not matches:
        return []
    images = list(matches[0].images)
    for other in matches[1:]:
        if list(other.images) != images:
            raise DataError(
                f"evaluations of different images cannot be compared: {len(images)} in one, {len(other.images)} in "
                "another, and not the same ones"
            )
    blocks = [values_of(matches, draws) for draws in drawn(unit_numbers(images, groups), resamples, seed)]
    return [joined([block[n] for block in blocks]) for n in range(len(matches))]


def joined(blocks: Sequence[Values]) -> Values:
    """Blocks of resamples as one."""
    first = blocks[0]
    return Values(
        {name: np.concatenate([block.metrics[name] for block in blocks]) for name in first.metrics},
        {
            own: {name: np.concatenate([block.per_class[own][name] for block in blocks]) for name in values}
            for own, values in first.per_class.items()
        },
    )


def values_of(matches: Sequence[Matches], draws: Draws) -> list[Values]:
    """Numbers of several evaluations under the same draws; classes are counted in threads, the largest first."""
    tasks = [(n, category) for n, each in enumerate(matches) for category in each.coco]
    tasks.sort(key=lambda task: -len(matches[task[0]].coco[task[1]][0].images))
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        found = list(pool.map(lambda task: class_values(matches[task[0]], task[1], draws), tasks))
    by_class: list[ByClass] = [{} for _ in matches]
    for (n, category), values in zip(tasks, found, strict=True):
        by_class[n][category] = values
    return [whole(each, own) for each, own in zip(matches, by_class, strict=True)]


def class_values(matches: Matches, category: int, draws: Draws) -> dict[str, Floats]:
    """Numbers of one class [B] each, AR's of all limits and sizes among them."""
    values = coco_values(matches.coco[category], matches.limits, draws)
    if category in matches.masks:
        masks = coco_values(matches.masks[category], matches.limits, draws)
        values |= {f"mask_{name}": value for name, value in masks.items()}
    if category in matches.voc:
        ranking = matches.voc[category]
        voc07, voc10 = average_precisions(ranking, draws, matches.voc07, ())
        values |= {"voc07_AP50": voc07[0], "voc10_AP50": voc10[0]}
    return values


def coco_values(sizes: Sequence[Ranking], limits: Sequence[int], draws: Draws) -> dict[str, Floats]:
    """COCO's numbers of one class [B] each.

    Args:
        sizes: rankings [A].
        limits: of detections, see ``coco_map.summary``: AR of sizes is that of 100, or of the only limit.
        draws: of images.
    """
    own = limits.index(MAX_DETECTIONS) if MAX_DETECTIONS in limits else len(limits) - 1
    values: dict[str, Floats] = {}
    for size, ranking in zip(SIZES, sizes, strict=True):
        (precision,) = average_precisions(ranking, draws, RECALLS)
        values[f"AP{size}"] = precision.mean(axis=0)
        if not size:
            values |= {"AP50": precision[0], "AP75": precision[5]}
    values |= {f"AR{limit}": recall(sizes[0], draws, limit) for limit in limits[: own + 1]}
    values |= {f"AR{size}": recall(each, draws, limits[own]) for size, each in zip(SIZES, sizes, strict=True) if size}
    return values


def recall(ranking: Ranking, draws: Draws, limit: int) -> Floats:
    """Mean recall over IoUs [B] of the first detections of each image; NaN where no object was drawn."""
    times = np.where(ranking.places < limit, ranking.true.sum(axis=0), 0)
    kept = np.flatnonzero(times)
    found = draws.sum(ranking.images[kept], times[kept])
    objects = draws.sum(ranking.objects)
    share: Floats = np.divide(found, objects * len(ranking.true), out=np.full_like(found, np.nan), where=objects > 0)
    return share


def whole(matches: Matches, by_class: ByClass) -> Values:
    """Means over the classes of which objects were drawn, and the numbers of classes by name."""
    names = list(next(iter(by_class.values()), ()))
    metrics: dict[str, Floats] = {}
    for name in names:
        metrics[name] = mean_of_known([values[name] for values in by_class.values()])
        if name == "APl":
            for group, categories in matches.frequencies.items():
                metrics[group] = mean_of_known([by_class[own]["AP"] for own in categories])
    return Values(metrics, {matches.names[category]: by_class[category] for category in matches.coco})


def mean_of_known(values: Sequence[Floats]) -> Floats:
    """Mean over classes [B], those without an object left out; NaN where none has any."""
    if not values:
        return np.array([np.nan])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: no class has an object
        mean: Floats = np.nanmean(np.stack(values), axis=0)
    return mean
