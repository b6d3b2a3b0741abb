"""Values for tests by hand: their numbers are those that were written."""

import pytest
import torch

from detzoo.testing import candidates, image_batch, targets


def test_no_objects_and_no_candidates_are_normal() -> None:
    truth = targets([[], []])
    assert truth.boxes.shape == (2, 16, 4)
    assert not truth.valid.any()
    assert targets([[]], padded=0).boxes.shape == (1, 0, 4)
    assert candidates([]).boxes.shape == (1, 0, 4)


def test_ground_truth_stands_in_the_first_rows() -> None:
    truth = targets([[(1, 2, 30, 40)], [(0, 0, 8, 8), (8, 8, 16, 16)]], [[2], [0, 1]], ignore=[[False], [True, False]])
    assert truth.boxes[1, :3].tolist() == [[0, 0, 8, 8], [8, 8, 16, 16], [0, 0, 0, 0]]
    assert truth.labels[:, :2].tolist() == [[2, 0], [0, 1]]
    assert truth.valid.sum(1).tolist() == [1, 2]
    assert truth.usable.sum(1).tolist() == [1, 1]
    assert truth.region.tolist() == [[0, 0, 128, 96]] * 2


def test_a_grid_is_flattened_level_row_column_side() -> None:
    places = candidates(size=(32, 64), strides=(16, 32), sides=(1.0, 2.0))
    # s16: 2 rows of 4 cells, s32: 1 row of 2 cells, two squares each
    assert [(level.name, level.height, level.width, level.per_cell) for level in places.levels] == [
        ("s16", 2, 4, 2),
        ("s32", 1, 2, 2),
    ]
    assert places.boxes.shape == (1, 2 * (8 + 2), 4)
    assert places.boxes[0, :3].tolist() == [[0, 0, 16, 16], [-8, -8, 24, 24], [16, 0, 32, 16]]
    assert places.boxes[0, -1].tolist() == [16, -16, 80, 48]
    assert places.strides().tolist() == [16] * 16 + [32] * 4


def test_regions_have_no_levels() -> None:
    places = candidates([(0, 0, 10, 10), (5, 5, 20, 30)])
    assert places.levels == ()
    assert places.boxes.tolist() == [[[0, 0, 10, 10], [5, 5, 20, 30]]]
    assert places.valid.all()


def test_a_batch_is_the_same_every_time() -> None:
    batch = image_batch(3, size=(64, 32))
    assert batch.pixels.shape == (3, 3, 64, 32)
    assert batch.original_size.tolist() == [[64, 32]] * 3
    assert torch.equal(batch.pixels, image_batch(3, size=(64, 32)).pixels)


def test_what_does_not_belong_together_is_an_error() -> None:
    with pytest.raises(ValueError, match="labels has another shape than boxes"):
        targets([[(0, 0, 8, 8)]], [[1, 2]])
    with pytest.raises(ValueError, match="image 0 has 2 boxes, but padded is 1"):
        targets([[(0, 0, 8, 8), (0, 0, 4, 4)]], padded=1)
