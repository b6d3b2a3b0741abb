"""Statistics of regions against plain formulas."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo_rcnn.colour import ColourSpace, in_colour_space
from detzoo_rcnn.features import STRONGEST, oriented_derivatives, pixel_bins, regions_of

LABELS = np.array([[0, 0, 1, 1], [0, 0, 1, 2], [3, 3, 3, 2]], np.int32)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_sizes_boxes_and_neighbours_by_hand() -> None:
    regions = regions_of(LABELS, pixel_bins(noise(3, 4)))
    assert regions.size.tolist() == [4, 3, 2, 3]
    assert regions.boxes.tolist() == [[0, 0, 2, 2], [2, 0, 4, 2], [3, 1, 4, 3], [0, 2, 3, 3]]
    # 2 and 0 do not touch, 1 and 3 do, 2 and 3 do
    assert regions.neighbours.tolist() == [[0, 1], [0, 3], [1, 2], [1, 3], [2, 3]]


def test_corners_touch() -> None:
    regions = regions_of(np.array([[0, 1], [2, 3]], np.int32), pixel_bins(noise(2, 2)))
    assert regions.neighbours.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


def test_one_region_has_no_neighbour() -> None:
    regions = regions_of(np.zeros((2, 3), np.int32), pixel_bins(noise(2, 3)))
    assert regions.neighbours.shape == (0, 2)
    assert regions.size.tolist() == [6]


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_histograms(channels: int) -> None:
    image = noise(3, 4, channels)
    regions = regions_of(LABELS, pixel_bins(image))
    assert regions.colour.shape == (4, 25 * channels)
    for region in range(4):
        inside = image[region == LABELS]
        # 25 even bins of 256 / 25 = 10.24 values
        counts = [np.histogram(inside[:, c], 25, (0, 256))[0] for c in range(channels)]
        np.testing.assert_allclose(regions.colour[region], np.concatenate(counts) / inside.size, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_texture_histograms(channels: int) -> None:
    labels = LABELS.repeat(5, 0).repeat(5, 1)
    image = cv2.GaussianBlur(noise(15, 20, channels), (0, 0), 1).reshape(15, 20, channels)
    regions = regions_of(labels, pixel_bins(np.asarray(image, np.uint8)))
    assert regions.texture.shape == (4, 80 * channels)
    along = oriented_derivatives(np.asarray(image, np.uint8))
    # 0, 45, 90, 135 degrees, then their opposites: what points the other way is weak
    halves = np.maximum(np.concatenate([along, -along], axis=-1), 0)
    for region in range(4):
        inside = halves[labels == region]
        counts = [
            np.histogram(inside[:, c, o], 10, (0, STRONGEST + 1e-4))[0] for c, o in product(range(channels), range(8))
        ]
        np.testing.assert_allclose(regions.texture[region], np.concatenate(counts) / inside.size, atol=1e-6)
    np.testing.assert_allclose(regions.texture.sum(axis=1), 1, rtol=1e-5)


def test_derivatives_of_a_ramp() -> None:
    x, y = np.meshgrid(np.arange(30), np.arange(20))
    along = oriented_derivatives((3 * x + 2 * y).astype(np.uint8)[..., None])[10, 15, 0]
    root = np.sqrt(0.5)
    np.testing.assert_allclose(along, [3, 5 * root, 2, -root], rtol=1e-3)


def test_the_strongest_derivative_is_that_of_a_step() -> None:
    step = np.zeros((9, 20, 1), np.uint8)
    step[:, 10:] = 255
    strongest = oriented_derivatives(step).max()
    assert strongest == pytest.approx(STRONGEST, rel=0.13)  # the step lies between two pixels: exp(-0.5^2 / 2) = 0.88
    assert strongest <= STRONGEST


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("rgb", [200, 100, 0]),
        ("hsv", [21, 255, 200]),  # hue 30 of 360 degrees; saturation 1
        ("hue", [21]),
        ("intensity", [118]),  # 0.299 x 200 + 0.587 x 100 = 118.5
        ("rgi", [170, 85, 118]),  # 2/3 and 1/3 of 255
    ],
)
def test_colour_spaces_by_hand(space: ColourSpace, expected: list[int]) -> None:
    image = np.array([[[200, 100, 0]]], np.uint8)
    assert np.abs(in_colour_space(image, space).ravel().astype(int) - expected).max() <= 1


def test_lab_of_grey_has_no_colour() -> None:
    assert in_colour_space(np.full((1, 1, 3), 255, np.uint8), "lab").ravel().tolist() == [255, 128, 128]


def test_black_is_colourless_in_rgi() -> None:
    assert in_colour_space(np.zeros((1, 1, 3), np.uint8), "rgi").ravel().tolist() == [85, 85, 0]
