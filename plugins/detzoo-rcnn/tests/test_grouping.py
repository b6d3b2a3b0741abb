"""Similarities against their formulas; what is merged against recomputation from pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo_rcnn.features import Regions, pixel_bins, regions_of
from detzoo_rcnn.grouping import (
    fill_similarity,
    grouped,
    intersection,
    merge_histograms,
    size_similarity,
)
from detzoo_rcnn.segmentation import segments
from detzoo_rcnn.strategies import ALL, WITHOUT_COLOUR, Similarity


def row(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def box(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def test_intersection_by_hand() -> None:
    assert intersection(row(0.5, 0.25, 0.25), row(0.25, 0.75, 0)) == 0.5
    assert intersection(row(), row()) == 0


def test_size_similarity_by_hand() -> None:
    assert size_similarity(10, 15, np.float32(100)) == 0.75


def test_fill_similarity_by_hand() -> None:
    # the box around both is 4 x 4 = 16, they fill 4 + 4 of it: 1 - 8 / 32
    assert fill_similarity(box(0, 0, 2, 2), box(2, 2, 4, 4), 4, 4, np.float32(32)) == 0.75
    assert fill_similarity(box(0, 0, 2, 2), box(2, 0, 4, 2), 4, 4, np.float32(32)) == 1


def test_the_histogram_of_a_union_by_hand() -> None:
    into = row(1, 0)
    merge_histograms(into, row(0, 1), 3, 1)
    assert into.tolist() == [0.75, 0.25]


def test_two_regions_become_one() -> None:
    labels = np.array([[0, 0, 1]], np.int32)
    found = grouped(regions_of(labels, pixel_bins(np.zeros((1, 3, 3), np.uint8))), ("size",), 3)
    assert found.boxes.tolist() == [[0, 0, 2, 1], [2, 0, 3, 1], [0, 0, 3, 1]]
    assert (found.size.tolist(), found.parts.tolist(), found.similarity.tolist()) == ([2, 1, 3], [[0, 1]], [0])


def test_one_region_stays_alone() -> None:
    labels = np.zeros((2, 2), np.int32)
    found = grouped(regions_of(labels, pixel_bins(np.zeros((2, 2, 3), np.uint8))), ALL, 4)
    assert (found.boxes.tolist(), len(found.parts), len(found.similarity)) == ([[0, 0, 2, 2]], 0, 0)


def test_of_equal_pairs_the_older_is_merged() -> None:
    labels = np.array([[0, 1, 2, 3]], np.int32)
    found = grouped(regions_of(labels, pixel_bins(np.zeros((1, 4, 3), np.uint8))), ("colour",), 4)
    assert found.parts.tolist() == [[0, 1], [2, 3], [4, 5]]


def image_of(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (40, 30), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(coarse + rng.integers(-10, 11, (30, 40, 3)), 0, 255), np.uint8)


def recomputed(regions: Regions, a: int, b: int, strategy: tuple[Similarity, ...], area: int) -> float:
    """The similarity of two regions of a segmentation, by the paper's formulas in NumPy."""
    corner = np.minimum(regions.boxes[a, :2], regions.boxes[b, :2])
    around = int(np.prod(np.maximum(regions.boxes[a, 2:], regions.boxes[b, 2:]) - corner))
    both = int(regions.size[a] + regions.size[b])
    values = {
        "colour": np.minimum(regions.colour[a], regions.colour[b]).sum(),
        "texture": np.minimum(regions.texture[a], regions.texture[b]).sum(),
        "size": 1 - both / area,
        "fill": 1 - (around - both) / area,
    }
    return float(sum(values[kind] for kind in strategy))


@pytest.mark.parametrize("strategy", [ALL, WITHOUT_COLOUR, ("colour",), ("fill",), ("size",)], ids="+".join)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_propagated_equals_recomputation_from_pixels(seed: int, strategy: tuple[Similarity, ...]) -> None:
    image = image_of(seed)
    labels, bins = segments(image, k=60, min_size=10), pixel_bins(image)
    start = regions_of(labels, bins)
    before = [start.colour.copy(), start.texture.copy(), start.size.copy(), start.boxes.copy()]
    found = grouped(start, strategy, labels.size)
    assert len(start.size) > 9
    assert len(found.parts) == len(start.size) - 1
    numbers = list(range(len(start.size)))  # which region of the hierarchy each label is now
    for step, (a, b) in enumerate(found.parts.tolist()):
        regions = regions_of(labels, bins)
        pairs = regions.neighbours.tolist()
        best = max(recomputed(regions, i, j, strategy, labels.size) for i, j in pairs)
        low, high = sorted((numbers.index(a), numbers.index(b)))
        assert [low, high] in pairs
        assert found.similarity[step] == pytest.approx(recomputed(regions, low, high, strategy, labels.size), abs=2e-5)
        assert found.similarity[step] == pytest.approx(best, abs=2e-5)
        union = len(start.size) + step
        mask = (labels == low) | (labels == high)
        y, x = np.nonzero(mask)
        assert found.size[union] == mask.sum()
        assert found.boxes[union].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        labels = np.where(labels == high, low, labels) - (labels > high)
        labels = labels.astype(np.int32)
        numbers[low] = union
        del numbers[high]
    assert found.boxes[-1].tolist() == [0, 0, 40, 30]
    after = [start.colour, start.texture, start.size, start.boxes]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
