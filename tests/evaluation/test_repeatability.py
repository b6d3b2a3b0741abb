"""Repeatability: the changes and the way back, the matching, and the mean over sizes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.data import open_dataset
from detzoo.proposals.method import find_method
from detzoo.proposals.repeatability import (
    LEVELS,
    Kind,
    RepeatJob,
    change,
    matched_overlaps,
    repeatability,
    scores,
)


def test_without_windows() -> None:
    assert matched_overlaps(np.zeros((0, 3))).shape == (0,)
    assert matched_overlaps(np.zeros((3, 0))).tolist() == [0, 0, 0]
    assert np.isnan(repeatability(np.zeros(0), np.zeros(0), np.geomspace(1, 2, 11)))
    assert all(np.isnan(value) for levels in scores([], LEVELS).values() for value in levels.values())


def test_matching_by_hand() -> None:
    # 0.9 is taken first, so that row 0 must do without column 0; row 2 is left with nothing
    overlaps = np.array([[0.8, 0.3, 0.0], [0.9, 0.7, 0.0], [0.0, 0.2, 0.0]])
    assert matched_overlaps(overlaps).tolist() == [0.3, 0.9, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_matching_as_a_plain_loop(seed: int) -> None:
    overlaps = np.random.default_rng(seed).uniform(0, 1, (23, 31))
    overlaps[overlaps < 0.4] = 0
    expected, left = np.zeros(23), overlaps.copy()
    while left.max() > 0:
        row, column = np.unravel_index(left.argmax(), left.shape)
        expected[row] = left[row, column]
        left[row], left[:, column] = 0, 0
    assert matched_overlaps(overlaps).tolist() == expected.tolist()


def test_matching_of_equal_windows_ends() -> None:
    assert matched_overlaps(np.ones((4, 3))).tolist() == [1, 1, 1, 0]


def test_the_mean_is_over_sizes() -> None:
    # three small windows that are lost, one large that is found: 1/2, and not 1/4
    areas, overlaps = np.array([1.0, 1.1, 1.2, 100.0]), np.array([0.0, 0.0, 0.0, 1.0])
    assert repeatability(areas, overlaps, np.geomspace(1, 100, 11)) == 0.5


def patch(size: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    image = np.zeros((*size, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def seen(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centre of what is white."""
    rows, columns = np.nonzero(image[:, :, 0] > 127)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


@pytest.mark.parametrize("degrees", [-20, -5, 10, 20])
def test_a_rotated_patch_comes_back(degrees: float) -> None:
    box = (70, 40, 90, 60)
    changed = change(patch((120, 200), box), "rotation", degrees)
    centre = seen(changed.image)
    there = np.concatenate([centre - 10, centre + 10])[None]
    assert changed.back(there)[0] == pytest.approx(box, abs=0.3)
    assert changed.visible(np.array([box], np.float64)).all()
    # the patch lies left of the middle: counter-clockwise brings it down, where y is larger
    middle = changed.image.shape[0] / 2
    assert (centre[1] - middle > 50 - 60) == (degrees > 0)


def test_a_rotated_image_shows_no_corner_of_nothing_and_not_everything() -> None:
    for degrees in LEVELS["rotation"]:
        changed = change(np.full((90, 160, 3), 255, np.uint8), "rotation", degrees)
        assert changed.image.min() > 250
        assert abs(changed.image.shape[1] / changed.image.shape[0] - 160 / 90) < 0.05
        corners = np.array([[0, 0, 10, 10], [75, 40, 85, 50]], np.float64)
        assert changed.visible(corners).tolist() == [False, True]


def test_a_scaled_patch_comes_back() -> None:
    changed = change(patch((60, 80), (20, 10, 40, 30)), "scale", 0.5)
    assert changed.image.shape == (30, 40, 3)
    assert changed.back(np.array([[10, 5, 20, 15]], np.float64)).tolist() == [[20, 10, 40, 30]]


def test_blur_and_jpeg_change_pixels_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    for kind, level in (("blur", 2), ("jpeg", 10)):
        changed = change(image, kind, level)  # type: ignore[arg-type]  # a loop over two of the literals
        assert changed.image.shape == image.shape
        assert 1 < cv2.absdiff(changed.image, image).mean() < 100
        box = np.array([[1, 2, 3, 4]], np.float64)
        assert changed.back(box).tolist() == box.tolist()


def test_colours_stay_in_order_under_jpeg() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :, 0] = 200
    assert change(image, "jpeg", 90).image.mean(axis=(0, 1)).argmax() == 0


def test_a_method_that_is_blind_repeats_itself_where_the_size_stays() -> None:
    levels: dict[Kind, tuple[float, ...]] = {"blur": (2,), "jpeg": (10,), "scale": (0.5,)}
    job = RepeatJob(open_dataset("shapes:train=1,size=64", "train"), find_method("uniform:count=60"), levels)
    result = job(0)
    assert result is not None
    found = scores([result], levels)
    assert found["blur"] == {"2": 1.0}
    assert found["jpeg"] == {"10": 1.0}
    assert 0 < found["scale"]["0.5"] < 0.9  # another draw, for it depends on the size
