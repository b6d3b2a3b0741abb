"""Nested random parts of a training set."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from detzoo.data import Dataset, open_dataset
from detzoo.data.nested_subsets import DatasetPart, boxes_of, missing_classes, nested_order, nested_subset
from detzoo.errors import DataError


@pytest.fixture(scope="module")
def images() -> Dataset:
    return open_dataset("shapes:size=32,train=60", "train")


def boxes(*rows: str) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """``"aab"`` is an image with two boxes of class a and one of b."""
    names = sorted(set("".join(rows)))
    return np.array([[row.count(name) for name in names] for row in rows], np.int64)


def test_no_images_and_wrong_fractions(images: Dataset) -> None:
    with pytest.raises(DataError, match="shapes train: no images to take a part of"):
        nested_subset(images.subset([]), 0.5)
    for wrong in (0, -0.1, 1.5, float("nan")):
        with pytest.raises(DataError, match=r"it must be above 0 and at most 1, as 0\.3"):
            nested_subset(images, wrong)


def test_all_is_the_dataset_itself(images: Dataset) -> None:
    assert nested_subset(images, 1, 3) is images
    assert images.part is None


def test_larger_parts_hold_the_smaller(images: Dataset) -> None:
    fractions = (0.02, 0.1, 0.3, 0.55, 0.9)
    parts = [nested_subset(images, fraction, 7) for fraction in fractions]
    ids = [part.image_ids for part in parts]
    assert [len(part) for part in parts] == [1, 6, 18, 33, 54]
    assert all(set(one) < set(other) for one, other in itertools.pairwise(ids))
    assert all(own == sorted(own) for own in ids)
    assert parts[1].part == DatasetPart(0.1, 7, 60)
    assert nested_subset(images, 0.1, 7).image_ids == ids[1]  # whichever others were asked for
    assert nested_subset(images, 0.1, 8).image_ids != ids[1]


def test_every_part_has_its_share_of_each_class() -> None:
    """Of 900 images with a and 100 with b, systematic sampling gives 90 and 10 of every 100, give or take one."""
    order, _ = nested_order(range(1000), boxes(*["a"] * 900, *["b"] * 100), 0)
    rows = np.array([group[0] for group in order])
    for end in range(100, 1001, 100):
        assert abs(int((rows[:end] >= 900).sum()) - end / 10) <= 1


def test_no_class_is_lost_where_images_are_enough() -> None:
    """Twenty images with a, one each with b and c: three images hold all three classes, for every seed."""
    held = boxes(*["a"] * 20, "ab", "ac")
    for seed in range(30):
        order, _ = nested_order(range(22), held, seed)
        first = [group[0] for group in order[:2]]
        assert set(first) == {20, 21}
        assert (held[first].sum(axis=0) > 0).all()


def test_what_is_lost_is_named(images: Dataset) -> None:
    part = nested_subset(images, 0.02)
    index = part.annotations()
    there = {images.classes[label] for label in index.labels}
    assert missing_classes(images, part) == [name for name in images.classes if name not in there]
    assert missing_classes(images, nested_subset(images, 0.2)) == []
    difficult = dataclasses.replace(index, difficult=np.ones(len(index.labels), np.bool_))
    assert boxes_of(part).sum() == len(index.labels)
    assert difficult.difficult.all()


def test_groups_stay_together(images: Dataset) -> None:
    """Ten groups of six images: parts are whole groups, the nearest number of them."""
    grouped = images.grouped([f"video {position // 6}" for position in range(60)])
    for fraction, expected in ((0.01, 6), (0.1, 6), (0.3, 18), (0.34, 18), (0.36, 24)):
        part = nested_subset(grouped, fraction, 1)
        assert len(part) == expected
        assert part.groups is not None
        assert all(part.groups.count(name) == 6 for name in part.groups)
