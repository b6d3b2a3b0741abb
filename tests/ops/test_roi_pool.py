"""Level assignment by hand, and the pooling functions that torchvision has not, against plain loops."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor
from torchvision import ops
from torchvision.ops.poolers import LevelMapper

from detzoo.ops.roi_pool import (
    align,
    align_one,
    assign_levels,
    ps_roi_pool,
    round_half_away,
    to_regions,
)


def squares(*sides: float) -> Tensor:
    return torch.tensor([[10.0, 20, 10 + side, 20 + side] for side in sides])


def random_regions(count: int, images: int, size: float) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=generator) * size * 1.1 - size * 0.05
    opposite = corner + torch.rand(count, 2, generator=generator) ** 2 * size
    image = torch.arange(count).remainder(images).unsqueeze(1)
    return torch.cat([image.float(), corner, opposite], dim=1)


def test_no_boxes_have_no_level() -> None:
    assert assign_levels(torch.zeros(0, 4), (4, 8)).shape == (0,)


def test_the_level_is_the_floor_clamped_with_the_epsilon_inside() -> None:
    # level 4 (stride 16) holds sides of 224 to 447 px, each level below half of that
    boxes = squares(1, 111.9, 112, 223.9, 224, 447.9, 448, 900, 5000)
    expected = [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert assign_levels(boxes, (4, 8, 16, 32)).tolist() == expected


def test_a_side_a_rounding_error_below_224_px_stays_on_level_4() -> None:
    # log2((224 - 1e-4) / 224) = -6.4e-7, which the epsilon of 1e-6 lifts over 0
    assert assign_levels(squares(224 - 1e-4), (4, 8, 16, 32)).tolist() == [2]
    assert assign_levels(squares(224 - 1e-2), (4, 8, 16, 32)).tolist() == [1]


def test_boxes_of_no_extent_and_inverted_boxes_are_on_the_finest_level() -> None:
    assert assign_levels(torch.tensor([[5.0, 5, 5, 5], [9, 0, 5, 3]]), (8, 16)).tolist() == [0, 0]


def test_the_canonical_size_and_level_move_the_levels() -> None:
    # side 56 belongs to level 3 (stride 8) now
    boxes = squares(27, 28, 56, 112)
    levels = assign_levels(boxes, (4, 8, 16), canonical_size=56, canonical_level=3)
    assert levels.tolist() == [0, 0, 1, 2]


def test_levels_equal_torchvisions_mapper() -> None:
    boxes = random_regions(2000, 1, 900)[:, 1:]
    assert torch.equal(assign_levels(boxes, (4, 8, 16, 32)), LevelMapper(2, 5)([boxes]))


def test_of_maps_of_equal_stride_the_first_is_used() -> None:
    # as torchvision's mobilenet_v3 detectors do
    assert assign_levels(squares(10, 224, 900), (32, 32)).tolist() == [0, 0, 0]
    assert assign_levels(squares(10, 224, 900), (16, 32, 32)).tolist() == [0, 0, 1]


def test_a_missing_level_is_served_by_the_next_finer_one() -> None:
    # strides 4 and 16: sides of 112 to 223 px want stride 8
    assert assign_levels(squares(60, 150, 224), (4, 16)).tolist() == [0, 0, 1]


def test_regions_carry_their_image_and_invalid_boxes_lie_outside() -> None:
    boxes = torch.tensor([[[1.0, 2, 3, 4], [math.nan, 0, 0, math.inf]]]).repeat(2, 1, 1)
    valid = torch.tensor([[True, False], [True, False]])
    regions = to_regions(boxes, valid, 2, 32)
    assert regions[0].tolist() == [0, 1, 2, 3, 4]
    assert regions[2].tolist() == [1, 1, 2, 3, 4]
    far = [-4096.0 * 32, -4096.0 * 32, -4095.0 * 32, -4095.0 * 32]
    assert regions[3].tolist() == [1, *far]


def test_shared_boxes_are_repeated_for_each_image() -> None:
    regions = to_regions(torch.tensor([[[1.0, 2, 3, 4]]]), torch.ones(1, 1, dtype=torch.bool), 3, 8)
    assert regions.tolist() == [[0, 1, 2, 3, 4], [1, 1, 2, 3, 4], [2, 1, 2, 3, 4]]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("output", "samples"), [((7, 7), 2), ((3, 5), 3), ((1, 1), 1)])
def test_align_equals_torchvisions_kernel(aligned: bool, output: tuple[int, int], samples: int) -> None:
    values = torch.randn(2, 5, 20, 15, dtype=torch.float64)
    regions = random_regions(60, 2, 80).double()
    regions[:4] += torch.tensor([0.0, 200, 0, 200, 0])  # beyond the map
    regions[4, 3:] = regions[4, 1:3]  # no extent
    ours = align([values], regions, (4,), None, output, samples, aligned=aligned)
    theirs = ops.roi_align(values, regions, output, 0.25, samples, aligned)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_align_takes_the_way_that_is_faster_and_the_result_is_the_same() -> None:
    values = torch.randn(1, 4, 64, 64, dtype=torch.float64)
    regions = random_regions(120, 1, 256).double()
    many = align_one(values, regions, 0.25, (7, 7), 2, aligned=True)
    few = torch.cat([align_one(values, part, 0.25, (7, 7), 2, aligned=True) for part in torch.split(regions, 1)])
    torch.testing.assert_close(many, few, rtol=0, atol=1e-12)
    assert align_one(values, regions[:0], 0.25, (7, 7), 2, aligned=True).shape == (0, 4, 7, 7)


def test_align_has_the_gradient_of_its_values() -> None:
    maps = [torch.randn(2, 2, n, n, dtype=torch.float64, requires_grad=True) for n in (6, 3)]
    regions = random_regions(5, 2, 24).double()
    levels = torch.tensor([0, 1, 0, 1, 1])
    assert torch.autograd.gradcheck(lambda *m: align(m, regions, (4, 8), levels, (2, 3), 2, aligned=True), maps)


def test_halves_are_rounded_away_from_zero_as_in_c() -> None:
    values = torch.tensor([0.5, 1.5, 2.5, -0.5, -2.5, 0.49999997, 7.2])
    assert round_half_away(values).tolist() == [1, 2, 3, -1, -3, 0, 7]


def c_round(value: float) -> int:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def ps_pool_before_loop(values: Tensor, region: list[float], scale: float, rows: int, columns: int) -> Tensor:
    """py-R-FCN's psroi_pooling_layer.cu, written out."""
    image, (height, width) = values[int(region[0])], values.shape[2:]
    left, top = c_round(region[1]) * scale, c_round(region[2]) * scale
    across = max((c_round(region[3]) + 1) * scale - left, 0.1)
    down = max((c_round(region[4]) + 1) * scale - top, 0.1)
    out = torch.zeros(values.shape[1] // (rows * columns), rows, columns, dtype=values.dtype)
    for c in range(out.shape[0]):
        for i in range(rows):
            for j in range(columns):
                y1 = min(max(math.floor(i * (down / rows) + top), 0), height)
                y2 = min(max(math.ceil((i + 1) * (down / rows) + top), 0), height)
                x1 = min(max(math.floor(j * (across / columns) + left), 0), width)
                x2 = min(max(math.ceil((j + 1) * (across / columns) + left), 0), width)
                if y2 > y1 and x2 > x1:
                    out[c, i, j] = image[(c * rows + i) * columns + j, y1:y2, x1:x2].mean()
    return out


def test_ps_pooling_of_r_fcn_rounds_before_scaling_and_adds_1() -> None:
    values = torch.randn(2, 2 * 6, 9, 11, dtype=torch.float64)
    regions = random_regions(40, 2, 140).double()
    regions[0, 1:] = torch.tensor([2.5, 3.5, 2.5, 3.5])
    regions[1, 1:] = torch.tensor([400.0, 400, 500, 500])
    ours = ps_roi_pool(values, regions, 1 / 16, (3, 2), rounding="before")
    loop = torch.stack([ps_pool_before_loop(values, region.tolist(), 1 / 16, 3, 2) for region in regions])
    torch.testing.assert_close(ours, loop, rtol=0, atol=1e-12)
    assert ours[1].count_nonzero() == 0


@pytest.mark.parametrize("rounding", ["before", "after"])
def test_ps_pooling_has_the_gradient_of_its_values(rounding: Literal["before", "after"]) -> None:
    values = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    regions = random_regions(4, 2, 40).double()
    assert torch.autograd.gradcheck(lambda v: ps_roi_pool(v, regions, 1 / 8, (2, 2), rounding=rounding), [values])


def test_ps_pooling_equals_torchvisions_away_from_the_last_row_and_column() -> None:
    values = torch.randn(2, 3 * 9, 12, 12, dtype=torch.float64)
    regions = random_regions(60, 2, 96).double()
    regions[:, 1:3] = regions[:, 1:3].clamp(max=72)
    regions[:, 3:] = regions[:, 3:].clamp(max=84)  # 10.5 cells, rounded to 11: bins end before cell 11, the last
    ours = ps_roi_pool(values, regions, 1 / 8, (3, 3), rounding="after")
    theirs = ops.ps_roi_pool(values, regions, (3, 3), 1 / 8)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_torchvisions_ps_pooling_leaves_out_the_last_row_and_column() -> None:
    # cells 3, 4 and 5 of 6: theirs averages 3 and 4, but spreads the gradient over all three
    values = torch.arange(36, dtype=torch.float64).view(1, 1, 6, 6).requires_grad_()
    region = torch.tensor([[0.0, 3, 3, 6, 6]], dtype=torch.float64)
    ours, theirs = ps_roi_pool(values, region, 1, (1, 1), rounding="after"), ops.ps_roi_pool(values, region, 1, 1)
    assert ours.item() == 28
    assert theirs.item() == 24.5
    for pooled in (ours, theirs):
        (gradient,) = torch.autograd.grad(pooled.sum(), values)
        torch.testing.assert_close(gradient[0, 0, 3:, 3:], torch.full((3, 3), 1 / 9, dtype=torch.float64))
