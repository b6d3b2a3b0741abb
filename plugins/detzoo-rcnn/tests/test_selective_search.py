"""Selective search: modes, order, filters, threads, and awkward images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.builder import build_component
from detzoo.errors import RecipeError
from detzoo.runtime.images import read_image
from detzoo.testing.specimens import sample
from detzoo_rcnn.grouping import Hierarchy
from detzoo_rcnn.ordering import distinct, values_of
from detzoo_rcnn.selective_search import SelectiveSearch


def image(height: int = 60, width: int = 80, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


SMALL: dict[str, Any] = {"min_size": 20, "threads": 1}


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 50, 3), 90, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((3, 2, 3), np.uint8),
        sample(size=(7, 7)).image,  # 49 px are fewer than a segment's 50
    ],
    ids=["one colour", "one pixel", "six pixels", "smaller than a segment"],
)
def test_one_segment_gives_no_boxes(image: NDArray[np.uint8]) -> None:
    boxes, scores = SelectiveSearch()(image)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    assert boxes.dtype == scores.dtype == np.float32


def test_boxes_lie_on_the_image_and_the_whole_is_one_of_them() -> None:
    boxes, scores = SelectiveSearch(**SMALL)(image())
    assert (boxes >= 0).all()
    assert (boxes <= [80, 60, 80, 60]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert [0, 0, 80, 60] in boxes.tolist()
    assert len(np.unique(boxes, axis=0)) == len(boxes) == len(scores) > 40


def test_grey_images_have_boxes() -> None:
    grey = image()[..., :1].repeat(3, axis=2)
    assert len(SelectiveSearch(**SMALL)(grey)[0]) > 20


@pytest.mark.parametrize(("mode", "count"), [("single", 1), ("fast", 8), ("quality", 80)])
def test_groupings_of_the_modes(mode: Any, count: int) -> None:
    search = SelectiveSearch(mode=mode, **SMALL)
    assert len(search.hierarchies(image(20, 30))) == count
    assert len(search.colour_spaces) * len(search.k) * len(search.strategies) == count


def test_fields_override_the_mode() -> None:
    # OpenCV contrib's fast mode
    search = SelectiveSearch(mode="fast", k=(150, 300, 450), min_size=100, graph="grid4")
    assert search.colour_spaces == ("hsv", "lab")
    assert search.k == (150, 300, 450)
    assert search.strategies == (("colour", "texture", "size", "fill"), ("texture", "size", "fill"))


def test_threads_change_nothing() -> None:
    one = SelectiveSearch(min_size=20, threads=1)(image())
    three = SelectiveSearch(min_size=20, threads=3)(image())
    assert np.array_equal(one[0], three[0])
    assert np.array_equal(one[1], three[1])


def test_the_seed_orders_the_same_boxes_differently() -> None:
    one, other = (SelectiveSearch(**SMALL, seed=seed)(image())[0] for seed in (0, 1))
    assert not np.array_equal(one, other)
    assert np.array_equal(np.unique(one, axis=0), np.unique(other, axis=0))


def test_top_k_takes_the_first() -> None:
    boxes, scores = SelectiveSearch(**SMALL)(image())
    few = SelectiveSearch(**SMALL, top_k=10)(image())
    assert np.array_equal(few[0], boxes[:10])
    assert np.array_equal(few[1], scores[:10])


def chain() -> Hierarchy:
    """0 and 1 become 3, then 3 and 2 become 4."""
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [2, 0, 3, 1], [0, 0, 2, 1], [0, 0, 3, 1]], np.int32)
    parts = np.array([[0, 1], [2, 3]], np.int32)
    return Hierarchy(boxes, np.array([1, 1, 1, 2, 3], np.int32), parts, np.zeros(2, np.float32))


def test_values_by_rank() -> None:
    drawn = np.random.default_rng(4).random(10)
    np.testing.assert_allclose(values_of([chain(), chain()], "rank", 4), [5, 4, 3, 2, 1] * 2 * drawn)


def test_values_by_rank_and_end() -> None:
    # 0 and 1 end in the second from the end, 2 and 3 in the last: j is 3, 3, 2, 2, 1
    expected = np.array([5, 4, 3, 2, 1]) ** 0.25 * np.array([3, 3, 2, 2, 1]) ** 0.75
    np.testing.assert_allclose(values_of([chain()], "lasting", 4), expected * np.random.default_rng(4).random(5))


def test_no_grouping_has_no_values() -> None:
    assert values_of([], "rank", 0).shape == (0,)


def test_equal_boxes_are_proposed_once_by_the_smallest_value() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 5, 5], [0, 0, 9, 9], [2, 2, 5, 5]], np.float64)
    rows, apart = distinct(boxes, np.array([0.5, 0.3, 0.1, 0.9]), 1)
    assert (rows.tolist(), apart) == ([2, 1, 3], 3)


def test_near_boxes_come_last() -> None:
    # the second is 9 / 10 of the first and 9.5 / 10 of the third; the third is near to none that comes earlier
    boxes = np.array([[0, 0, 10, 10], [0, 0, 9, 10], [0, 0, 8, 10], [50, 0, 60, 10]], np.float64)
    rows, apart = distinct(boxes, np.array([0.1, 0.2, 0.3, 0.4]), 0.85)
    assert (rows.tolist(), apart) == ([0, 2, 3, 1], 3)


def test_near_boxes_against_all_pairs() -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 12, (300, 2))
    boxes = np.unique(np.concatenate([corner, corner + rng.integers(8, 20, (300, 2))], axis=1), axis=0).astype(float)
    rows, apart = distinct(boxes, np.arange(len(boxes), dtype=float), 0.7)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = np.clip(np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - low, 0, None).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    iou = shared / (area[:, None] + area[None] - shared)
    first: list[int] = []
    for row in range(len(boxes)):
        if not (iou[row, first] > 0.7).any():
            first.append(row)
    assert rows[:apart].tolist() == first
    assert 20 < apart < len(boxes) - 20


@pytest.mark.parametrize(
    ("field", "holds"),
    [
        ({"min_side": 20}, lambda sides: sides.min(axis=1) >= 20),
        ({"max_aspect": 1.5}, lambda sides: sides.max(axis=1) <= 1.5 * sides.min(axis=1)),
        ({"min_area": 600}, lambda sides: sides.prod(axis=1) >= 600),
    ],
    ids=["min_side", "max_aspect", "min_area"],
)
def test_filters(field: dict[str, Any], holds: Any) -> None:
    every, _ = SelectiveSearch(**SMALL)(image())
    found, _ = SelectiveSearch(**SMALL, **field)(image())
    assert 0 < len(found) < len(every)
    assert holds(found[:, 2:] - found[:, :2]).all()


def test_a_large_image_is_looked_at_smaller() -> None:
    large = cv2.resize(image(), (5120, 3840), interpolation=cv2.INTER_NEAREST)  # 20 megapixels
    search = SelectiveSearch(mode="single", min_size=200, max_side=320, threads=1)
    boxes, _ = search(np.asarray(large, np.uint8))
    small = np.asarray(cv2.resize(large, (320, 240), interpolation=cv2.INTER_AREA), np.uint8)
    np.testing.assert_array_equal(boxes, search(small)[0] * 16)
    assert len(boxes) > 20
    assert search.segments(np.asarray(large, np.uint8), 100).shape == (3840, 5120)


def test_segments_of_two_scales() -> None:
    search = SelectiveSearch(threads=1, min_size=5)
    fine, coarse = (search.segments(image(), k) for k in (5, 500))
    assert fine.shape == coarse.shape == (60, 80)
    assert fine.dtype == np.int32
    assert fine.max() > coarse.max()


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        build_component("proposer", {"type": "selective_search", "k": []})
    assert str(caught.value) == "k: found []; expected a list of at least 1, each element a number > 0 or null"


def test_the_authors_boxes_are_found(shared: Path) -> None:
    # 2,888 boxes of their fast mode on a photograph; the two see it in sizes and colours of their own
    from scipy.io import loadmat

    folder = shared / "data" / "oracle-selective-search" / "demo"
    theirs = loadmat(folder / "000004_boxes.mat")["boxes"][::20].astype(np.float64)
    theirs[:, 2:] += 1  # theirs are inclusive
    ours = SelectiveSearch()(read_image(folder / "000004.jpg"))[0].astype(np.float64)
    low = np.maximum(theirs[:, None, :2], ours[None, :, :2])
    shared_area = np.clip(np.minimum(theirs[:, None, 2:], ours[None, :, 2:]) - low, 0, None).prod(axis=2)
    area, own = ((side[:, 2:] - side[:, :2]).prod(axis=1) for side in (theirs, ours))
    best = (shared_area / (area[:, None] + own[None] - shared_area)).max(axis=1)
    assert (best > 0.5).mean() > 0.85
    assert best.mean() > 0.75
