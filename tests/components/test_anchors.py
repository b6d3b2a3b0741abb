"""Grid anchors against torchvision's generator and by hand."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from detzoo.components.anchors import Grid
from detzoo.errors import RecipeError

MAPS = {"s8": torch.zeros(1, 1, 3, 5), "s16": torch.zeros(1, 1, 2, 3)}


def test_no_cells() -> None:
    boxes, levels = Grid(sizes=[[32.0]])({"s8": torch.zeros(1, 1, 0, 4)}, (1, 32))
    assert boxes.shape == (0, 4)
    assert levels[0].count == 0


def test_rounded_whole_pixels_are_torchvisions() -> None:
    sizes, ratios = [[32.0, 40.0, 50.0], [64.0, 80.0, 101.0]], [0.5, 1.0, 2.0]
    theirs = AnchorGenerator(tuple(tuple(int(s) for s in level) for level in sizes), (tuple(ratios),) * 2)
    expected = theirs(ImageList(torch.zeros(1, 3, 25, 41), [(25, 41)]), list(MAPS.values()))[0]
    grid = Grid(sizes=sizes, ratios=ratios, rounding="int", stride="floor")
    boxes, levels = grid(MAPS, (25, 41))
    assert torch.equal(boxes, expected)
    assert grid.per_cell() == (9, 9)
    assert [(level.name, level.height, level.width, level.per_cell, level.stride) for level in levels] == [
        ("s8", 3, 5, 9, 8.0),
        ("s16", 2, 3, 9, 12.0),
    ]


def test_floats_by_default() -> None:
    boxes, _ = Grid(sizes=[[32.0]], ratios=[2.0])({"s8": MAPS["s8"]}, (24, 40))
    half = 32 / 2**0.5 / 2  # ratio = height / width, so w = 32 / sqrt(2)
    torch.testing.assert_close(boxes[0], torch.tensor([-half, -2 * half, half, 2 * half]))


@pytest.mark.parametrize(("offset", "centre"), [(0.0, [8.0, 16.0]), (0.5, [12.0, 20.0])])
def test_offset_corner_or_middle(offset: float, centre: list[float]) -> None:
    boxes, _ = Grid(sizes=[[32.0]], ratios=[1.0], offset=offset)({"s8": MAPS["s8"]}, (24, 40))
    box = boxes.view(3, 5, 4)[2, 1]  # row 2, column 1 of stride 8
    assert ((box[:2] + box[2:]) / 2).tolist() == centre


def test_levels_must_match() -> None:
    with pytest.raises(RecipeError) as error:
        Grid(sizes=[[32.0]])(MAPS, (24, 40))
    assert str(error.value) == (
        "anchors grid: sizes are given for 1 levels, but there are 2 feature maps (s8, s16); "
        "write one list of sizes for each map"
    )


def test_three_scales_in_an_octave() -> None:
    floats, whole = (Grid(sizes=[[32.0], [64.0]], octave=3, octave_rounding=how) for how in ("none", "down"))
    assert whole.sizes == [[32, 40, 50], [64, 80, 101]]  # torchvision: int(32 · 2^(1/3)), int(32 · 2^(2/3))
    assert floats.sizes == [pytest.approx([32, 40.317473, 50.796834]), pytest.approx([64, 80.634947, 101.593667])]
    assert whole.per_cell() == floats.per_cell() == (9, 9)
    # an octave further on lies the next level, so that all scales together are one ladder
    assert floats.sizes[0][0] * 2 == floats.sizes[1][0]
    assert Grid(sizes=[[32.0]]).sizes == [[32.0]]
