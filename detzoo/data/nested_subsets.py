"""Nested random parts of a training set: what .1 holds, .3 holds too, whichever fractions are asked for.

All parts are beginnings of one order of the images, which the seed draws. Images of one group stay together. The order
is stratified: each image (or group) belongs to the stratum of its rarest class; within a stratum the order is random,
and strata are interleaved by systematic sampling, so that every part has its share of each. Before them stands, for
each class that no image before has, the first one that has it: a class is missing in a part only where the part has
fewer images than that takes.

Source: systematic sampling with a random start in each stratum (Cochran, Sampling Techniques, 1977, section 8.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from detzoo.data.dataset import Dataset


@dataclass(frozen=True)
class DatasetPart:
    """Which part of a dataset another one is.

    Args:
        fraction: of the images, above 0 and below 1.
        seed: of the choice.
        of: images of the whole.
    """

    fraction: float
    seed: int
    of: int


def nested_subset(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """A part of a dataset, in the dataset's order; all of it, as it is, for 1.

    Args:
        dataset: to be cut; it stays as it is.
        fraction: of its images, above 0 and at most 1; at least one image, or group.
        seed: of the choice.

    Raises:
        DataError: the fraction is out of range, or there are no images.
    """
    if not 0 < fraction <= 1:
        raise DataError(f"fraction is {fraction:g}; it must be above 0 and at most 1, as 0.3")
    if not len(dataset):
        raise DataError(f"{dataset.name} {dataset.split}: no images to take a part of")
    if fraction == 1:
        return dataset
    order, sizes = nested_order(groups_of(dataset), boxes_of(dataset), seed)
    ends = np.cumsum(sizes)
    chosen = int(np.argmin(np.abs(ends - fraction * len(dataset)))) + 1  # the first of two that are as near
    part = dataset.subset(sorted(position for group in order[:chosen] for position in group))
    part.part = DatasetPart(fraction, seed, len(dataset))
    return part


def nested_order(
    groups: Sequence[int], boxes: NDArray[np.int64], seed: int
) -> tuple[list[list[int]], NDArray[np.int64]]:
    """The order of which all parts are beginnings.

    Args:
        groups: of each image.
        boxes: int64 [I,K], boxes of each class in each image.
        seed: of the order.

    Returns:
        the images of each group, in that order, and how many they are, int64 [G].
    """
    members: dict[int, list[int]] = {}
    for image, group in enumerate(groups):
        members.setdefault(group, []).append(image)
    units = list(members.values())
    held = np.stack([boxes[unit].sum(axis=0) > 0 for unit in units])  # [G,K]
    common = held.sum(axis=0)
    rarest = np.where(held, common, len(units) + 1).argmin(axis=1) if held.shape[1] else np.zeros(len(units), np.int64)
    stratum = np.where(held.any(axis=1), rarest, -1)
    rng = np.random.default_rng(seed)
    place = np.empty(len(units))
    for own in np.unique(stratum):
        rows = rng.permutation(np.flatnonzero(stratum == own))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    drawn = np.argsort(place, kind="stable").tolist()
    first: dict[int, None] = {}
    covered = np.zeros(held.shape[1], np.bool_)
    for label in np.argsort(common, kind="stable").tolist():
        if common[label] and not covered[label]:
            found = next(row for row in drawn if held[row, label])
            first[found] = None
            covered |= held[found]
    order = [*first, *(row for row in drawn if row not in first)]
    return [units[row] for row in order], np.array([len(units[row]) for row in order], np.int64)


def groups_of(dataset: Dataset) -> list[int]:
    """The group of each image, as a number; each image its own where the dataset has none."""
    if dataset.groups is None:
        return list(range(len(dataset)))
    numbers = {name: number for number, name in enumerate(dict.fromkeys(dataset.groups))}
    return [numbers[name] for name in dataset.groups]


def boxes_of(dataset: Dataset) -> NDArray[np.int64]:
    """Boxes of each class in each image, int64 [I,K]; difficult and crowd ones are no help to learn a class."""
    index = dataset.annotations()
    image = np.repeat(np.arange(len(dataset)), np.diff(index.ends, prepend=0))
    counts = np.zeros((len(dataset), len(dataset.classes)), np.int64)
    kept = ~(index.difficult | index.crowd)
    np.add.at(counts, (image[kept], index.labels[kept]), 1)
    return counts


def missing_classes(whole: Dataset, part: Dataset) -> list[str]:
    """Classes that the whole has boxes of, and the part has none of."""
    lost = (boxes_of(whole).sum(axis=0) > 0) & (boxes_of(part).sum(axis=0) == 0)
    return [name for name, gone in zip(whole.classes, lost.tolist(), strict=True) if gone]
