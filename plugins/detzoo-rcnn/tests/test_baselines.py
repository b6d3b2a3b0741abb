"""Superpixels and randomised Prim."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.interfaces import Proposer
from detzoo_rcnn.features import pixel_bins, regions_of
from detzoo_rcnn.randomized_prim import RandomizedPrim, border_lengths, edge_probabilities
from detzoo_rcnn.superpixels import Superpixels


def blocks() -> NDArray[np.uint8]:
    """40 x 60 px: red on the left third, green above blue on the right."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :20, 0] = 255
    image[:25, 20:, 1] = 255
    image[25:, 20:, 2] = 255
    return image


@pytest.mark.parametrize("proposer", [Superpixels(), RandomizedPrim()])
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (60, 70)])
def test_one_segment_gives_no_boxes(proposer: Proposer, size: tuple[int, int]) -> None:
    boxes, scores = proposer(np.full((*size, 3), 80, np.uint8))
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))
    assert boxes.dtype == scores.dtype == np.float32


def test_superpixels_are_the_boxes_of_segments() -> None:
    boxes, scores = Superpixels(sigma=0)(blocks())
    assert boxes.tolist() == [[20, 0, 60, 25], [0, 0, 20, 40], [20, 25, 60, 40]]
    assert scores.tolist() == pytest.approx([1000 / 2400, 800 / 2400, 600 / 2400])
    assert Superpixels(sigma=0, top_k=1)(blocks())[0].tolist() == [[20, 0, 60, 25]]


def test_superpixels_of_a_large_image() -> None:
    large = blocks().repeat(100, 0).repeat(100, 1)  # 4000 x 6000 px
    boxes, _ = Superpixels(sigma=0, max_side=60)(large)
    assert boxes.tolist() == [[2000, 0, 6000, 2500], [0, 0, 2000, 4000], [2000, 2500, 6000, 4000]]
    assert Superpixels(max_side=60).segments(large, 50).shape == (4000, 6000)


def test_trees_cover_unions_of_neighbours() -> None:
    boxes, scores = RandomizedPrim(count=400, colour_spaces=("rgb",), sigma=0)(blocks())
    left, above, below, right, whole = (
        (0, 0, 20, 40), (20, 0, 60, 25), (20, 25, 60, 40), (20, 0, 60, 40), (0, 0, 60, 40),
    )  # fmt: skip
    # left with one of the others fills the box of all three
    assert {tuple(box) for box in boxes.astype(int).tolist()} == {left, above, below, right, whole}
    assert len(boxes) == 5
    assert scores.tolist() == [1] * 5


def test_trees_are_drawn_from_the_seed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    one, again, other = (RandomizedPrim(count=50, seed=seed)(noise)[0] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert 10 < len(one) <= 50


def test_borders_by_hand() -> None:
    # 0 0 1    sides: 0-1 one, 0-2 two, 1-2 one; corners: 0-2 two (first column and back), 0-1 one, 1-2 one
    # 2 2 2
    labels = np.array([[0, 0, 1], [2, 2, 2]], np.int32)
    regions = regions_of(labels, pixel_bins(np.zeros((2, 3, 3), np.uint8)))
    assert regions.neighbours.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert border_lengths(labels, regions.neighbours, 3).tolist() == [1, 5, 2]


def test_edge_probabilities_by_formula() -> None:
    labels = np.array([[0, 0, 1], [2, 2, 2]], np.int32)
    regions = regions_of(labels, pixel_bins(np.zeros((2, 3, 3), np.uint8)))
    # one colour: intersection 1; borders of 0, 1, 2 are 6, 3, 7 long; sizes 2, 1, 3 of 6
    border = np.array([1 / 3, 5 / 6, 2 / 3])
    size = 1 - np.array([3, 5, 4]) / 6
    expected = 1 / (1 + np.exp(-(3 + 3 * border + 2 * size - 4)))
    np.testing.assert_allclose(edge_probabilities(regions, labels), expected, rtol=1e-6)
