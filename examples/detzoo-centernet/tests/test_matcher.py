"""Heatmaps and centres, against the definition and a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detzoo.ops.grid import grid_candidates
from detzoo.testing import targets
from detzoo.types import BACKGROUND, IGNORE, Candidates, Predictions, Targets
from detzoo_centernet.matcher import GaussianCentres, gaussian_radius

STRIDE, ROWS, COLUMNS, CLASSES = 4, 10, 12, 3


def cells() -> Candidates:
    return grid_candidates({"s4": torch.zeros(1, 1, ROWS, COLUMNS)}, {"s4": STRIDE}, (1.0,))


def predictions(batch: int) -> Predictions:
    count = ROWS * COLUMNS
    return Predictions(torch.zeros(batch, count, CLASSES), "sigmoid", torch.zeros(batch, count, 1, 4))


def moved_iou(height: float, width: float, radius: float, case: str) -> float:
    """IoU of a box with itself, both corners moved by ``radius`` along both axes."""
    if case == "same way":
        common = max(0.0, height - radius) * max(0.0, width - radius)
        return common / (2 * height * width - common)
    if case == "inwards":
        return max(0.0, height - 2 * radius) * max(0.0, width - 2 * radius) / (height * width)
    return height * width / ((height + 2 * radius) * (width + 2 * radius))


def plain_heat(truth: Targets, image: int, radius: list[int]) -> Tensor:
    heat = torch.zeros(CLASSES, ROWS, COLUMNS, dtype=torch.float64)
    for box, label, r in zip(truth.boxes[image].tolist(), truth.labels[image].tolist(), radius, strict=True):
        x, y = int((box[0] + box[2]) / 2 / STRIDE), int((box[1] + box[3]) / 2 / STRIDE)
        deviation = (2 * r + 1) / 6
        for row in range(max(0, y - r), min(ROWS, y + r + 1)):
            for column in range(max(0, x - r), min(COLUMNS, x + r + 1)):
                value = math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * deviation**2))
                heat[label, row, column] = max(float(heat[label, row, column]), value)
    return heat


def test_without_ground_truth_all_is_background() -> None:
    found = GaussianCentres()(cells(), targets([[]], size=(40, 48)), predictions(1))
    assert (found.index == BACKGROUND).all()
    assert found.quality is not None
    assert found.quality.shape == (1, ROWS * COLUMNS, CLASSES)
    assert not found.quality.any()


@pytest.mark.parametrize(("height", "width"), [(1.0, 1.0), (10.0, 10.0), (40.0, 25.0), (7.0, 90.0)])
@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_the_exact_radius_is_the_largest_that_keeps_the_overlap(height: float, width: float, overlap: float) -> None:
    found = float(gaussian_radius(torch.tensor(height), torch.tensor(width), overlap, form="exact"))
    cases = ("same way", "inwards", "outwards")
    assert min(moved_iou(height, width, found, case) for case in cases) >= overlap - 1e-6
    assert min(moved_iou(height, width, found + 1, case) for case in cases) < overlap


def test_the_released_radius() -> None:
    # by hand, 10 x 10 at 0.7: (20 + sqrt(400 - 4 * 100 * 0.3 / 1.7)) / 2 = 19.07; (40 + sqrt(1600 - 480)) / 2 = 36.7;
    # (-28 + sqrt(784 + 4 * 2.8 * 30)) / 2 = 2.733
    assert gaussian_radius(torch.tensor(10.0), torch.tensor(10.0), 0.7, form="released") == 2
    assert gaussian_radius(torch.tensor(10.0), torch.tensor(10.0), 0.7, form="exact") == 0  # 2.733 / 2.8


def test_heatmaps_are_those_of_a_plain_loop() -> None:
    boxes = [(0.0, 0.0, 30.0, 30.0), (10.0, 12.0, 42.0, 40.0), (2.0, 30.0, 8.0, 38.0)]
    truth = targets([boxes, boxes[:1]], labels=[[0, 0, 2], [1]], size=(40, 48))
    matcher = GaussianCentres()
    found = matcher(cells(), truth, predictions(2))
    *_, radius = matcher.in_cells(cells(), truth)
    assert radius[0, :3].tolist() == [2, 2, 0]
    assert found.quality is not None
    for image, count in ((0, 3), (1, 1)):
        expected = plain_heat_of(truth, image, count, radius)
        heat = found.quality[image].T.reshape(CLASSES, ROWS, COLUMNS)
        torch.testing.assert_close(heat.double(), expected, rtol=0, atol=1e-6)
    # centres 15, 15 / 26, 26 / 5, 34 px: cells 3, 3 / 6, 6 / 1, 8
    assert (found.index[0] >= 0).nonzero().flatten().tolist() == [3 * COLUMNS + 3, 6 * COLUMNS + 6, 8 * COLUMNS + 1]
    assert found.index[0, [39, 78, 97]].tolist() == [0, 1, 2]


def plain_heat_of(truth: Targets, image: int, count: int, radius: Tensor) -> Tensor:
    kept = Targets(
        truth.boxes[:, :count], truth.labels[:, :count], truth.ignore[:, :count], truth.valid[:, :count], truth.region
    )
    return plain_heat(kept, image, [int(r) for r in radius[image, :count]])


def test_of_two_centres_in_a_cell_the_smaller_box_is_learned() -> None:
    truth = targets([[(0.0, 0.0, 32.0, 32.0), (12.0, 12.0, 20.0, 20.0)]], labels=[[0, 1]], size=(40, 48))
    found = GaussianCentres()(cells(), truth, predictions(1))
    centre = 4 * COLUMNS + 4
    assert found.index[0, centre] == 1
    assert found.quality is not None
    assert found.quality[0, centre].tolist() == [1, 1, 0]


def test_ignored_ground_truth_is_neither_centre_nor_background() -> None:
    truth = targets([[(0.0, 0.0, 16.0, 16.0)]], ignore=[[True]], size=(40, 48))
    found = GaussianCentres()(cells(), truth, predictions(1))
    covered = [row * COLUMNS + column for row in range(4) for column in range(4)]
    assert (found.index[0] == IGNORE).nonzero().flatten().tolist() == covered
    assert found.quality is not None
    assert not found.quality.any()


def test_a_centre_on_the_last_border_lies_in_the_last_cell() -> None:
    truth = targets([[(47.5, 39.5, 48.0, 40.0), (48.0, 40.0, 48.0, 40.0)]], size=(40, 48))
    found = GaussianCentres()(cells(), truth, predictions(1))
    assert (found.index[0] >= 0).nonzero().flatten().tolist() == [ROWS * COLUMNS - 1]
