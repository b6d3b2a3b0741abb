"""The nine anchors of py-faster-rcnn, against the list that its generate_anchors.py prints."""

import pytest
import torch

from detzoo.builder import build_component
from detzoo.components.box_coders import CentreSize
from detzoo.errors import RecipeError
from detzoo_faster_rcnn.anchors import CaffeGrid

PRINTED = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]
MAP = {"s16": torch.zeros(1, 8, 3, 4)}


def test_the_nine_anchors_as_printed() -> None:
    boxes, levels = CaffeGrid(edges="inclusive")(MAP, (48, 64))
    assert boxes[:9].tolist() == PRINTED
    assert (levels[0].height, levels[0].width, levels[0].per_cell, levels[0].stride) == (3, 4, 9, 16.0)
    # they are centred on pixel 7.5 of the first cell: (-84 + 99) / 2
    assert ((boxes[:9, 0] + boxes[:9, 2]) / 2).tolist() == [7.5] * 9
    # height / width 1/2: 16 x 16 rounds to 23 x 12, which 8 times is 184 x 96, from 7.5 - 183 / 2 to 7.5 + 183 / 2
    assert PRINTED[0] == [7.5 - 91.5, 7.5 - 47.5, 7.5 + 91.5, 7.5 + 47.5]


def test_matlab_counts_from_one() -> None:
    boxes, _ = CaffeGrid(edges="inclusive")(MAP, (48, 64))
    assert (boxes[0] + 1).tolist() == [-83, -39, 100, 56]


def test_exclusive_edges_turn_plus_one_into_plain_arithmetic() -> None:
    plain, _ = CaffeGrid()(MAP, (48, 64))
    printed, _ = CaffeGrid(edges="inclusive")(MAP, (48, 64))
    assert torch.equal(plain[:, :2], printed[:, :2])
    assert torch.equal(plain[:, 2:], printed[:, 2:] + 1)
    # a ground truth that covers pixels 10..109 by 20..69, in both notations
    inclusive, exclusive = torch.tensor([10.0, 20.0, 109.0, 69.0]), torch.tensor([10.0, 20.0, 110.0, 70.0])
    strides = torch.ones(())
    old = CentreSize(legacy_plus_one=True).encode(inclusive, printed, strides)
    torch.testing.assert_close(CentreSize().encode(exclusive, plain, strides), old)


def test_they_repeat_every_16_px_whatever_the_size_of_the_image() -> None:
    # 3 x 4 cells on 55 x 75 px: ZF's padded poolings make maps larger than image / 16
    boxes, _ = CaffeGrid()(MAP, (55, 75))
    assert boxes.shape == (3 * 4 * 9, 4)
    cell = boxes.view(3, 4, 9, 4)
    assert torch.equal(cell[2, 3], cell[0, 0] + torch.tensor([48.0, 32.0, 48.0, 32.0]))
    empty, _ = CaffeGrid()({"s16": torch.zeros(1, 8, 0, 4)}, (16, 64))
    assert empty.shape == (0, 4)


def test_other_sizes_and_ratios() -> None:
    # COCO's four scales of py-faster-rcnn: 64 px is scale 4 of base 16
    grid = build_component("anchors", {"type": "caffe_grid", "sizes": [64, 128, 256, 512]})
    assert grid.per_cell() == (12,)
    boxes, _ = grid(MAP, (48, 64))
    assert boxes[4].tolist() == [-24, -24, 40, 40]


def test_one_map_only() -> None:
    with pytest.raises(RecipeError) as error:
        CaffeGrid()({"s8": torch.zeros(1, 8, 3, 4), **MAP}, (48, 64))
    assert str(error.value) == (
        "anchors caffe_grid: it stands on one map, but there are 2 (s8, s16); "
        "name one level, or use anchors: {type: grid}"
    )
