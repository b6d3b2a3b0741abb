"""Spatial pyramid pooling against a plain loop over windows, grids and bins."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detzoo.types import Candidates, FeatureSpec
from detzoo_rcnn.spatial_pyramid import SpatialPyramid

BINS = (6, 3, 2, 1)


def plain(values: Tensor, box: list[float], stride: float, offset: float) -> Tensor:
    """[C,50] of one window of a map [C,h,w]."""
    height, width = values.shape[1:]
    spans = []
    for axis, limit in ((0, width), (1, height)):
        start, end = (box[axis] + offset) / stride, (box[axis + 2] + offset) / stride
        first, last = math.floor(start) + 1, math.ceil(end) - 1
        if last < first:
            first = last = round((start + end) / 2)
        spans.append((min(max(first, 0), limit - 1), min(max(last, 0), limit - 1)))
    (left, right), (top, bottom) = spans
    window = values[:, top : bottom + 1, left : right + 1]
    rows, columns = window.shape[1:]
    bins = []
    for n in BINS:
        for i in range(n):
            for j in range(n):
                ys = slice(math.floor(i * rows / n), math.ceil((i + 1) * rows / n))
                xs = slice(math.floor(j * columns / n), math.ceil((j + 1) * columns / n))
                bins.append(window[:, ys, xs].amax(dim=(1, 2)))
    return torch.stack(bins, dim=1)


def boxes(count: int, seed: int) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([200.0, 150.0])
    low, high = corners.amin(1), corners.amax(1)
    return torch.cat([low, high], dim=1)


def test_no_regions() -> None:
    pool = SpatialPyramid({"s16": FeatureSpec(5, 16.0)})

    pooled = pool({"s16": torch.zeros(2, 5, 7, 9)}, Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0) > 0))

    assert pooled.shape == (0, 5, 1, 50)
    assert (pool.channels, pool.output) == (5, (1, 50))


@pytest.mark.parametrize("offset", [0.0, -15.0])
def test_bins_equal_the_plain_loop(offset: float) -> None:
    values = torch.randn(1, 4, 10, 13, generator=torch.Generator().manual_seed(1))
    pool = SpatialPyramid({"s16": FeatureSpec(4, 16.0)}, bins=BINS, offset=offset)
    given = torch.cat([boxes(40, 2), torch.tensor([[0.0, 0, 208, 160], [50, 50, 51, 51], [-40, -30, -20, -10]])])

    pooled = pool({"s16": values}, Candidates(given[None], torch.ones(1, len(given), dtype=torch.bool)))

    expected = torch.stack([plain(values[0], box, 16.0, offset) for box in given.tolist()])
    torch.testing.assert_close(pooled.squeeze(2), expected, rtol=0, atol=0)


def test_a_window_holds_the_cells_centred_inside_it() -> None:
    """Stride 16: from 20 to 70 px lie the centres of cells 2 (32), 3 (48) and 4 (64); 16 and 80 lie outside."""
    pool = SpatialPyramid({"s16": FeatureSpec(1, 16.0)}, bins=(1,))

    windows = pool.windows(torch.tensor([[0.0, 20, 16, 70, 64]]), 1 / 16, (10, 10))

    # 16 and 64 px are centres themselves: strictly inside are rows 2 (32) and 3 (48)
    assert windows.tolist() == [[0, 2, 2, 4, 3]]


def test_the_scale_on_which_a_window_is_nearest_to_the_trained_size() -> None:
    """Ratios 1, 0.5 and 0.25 of a net of stride 16 trained on 14 x 14 cells.

    224 px are 14 cells at ratio 1; 448 px at 0.5. 320 px have 400, 100 and 25 cells: 400 - 196 = 204, 196 - 100 = 96,
    so the second. 1,000 px have 3,906, 977 and 244 cells: the third.
    """
    specs = {f"s16@{ratio}": FeatureSpec(2, 16 / ratio) for ratio in (1.0, 0.5, 0.25)}
    pool = SpatialPyramid(specs, cells=14)
    sides = torch.tensor([10.0, 224, 320, 448, 1000])
    regions = torch.stack([sides * 0, sides * 0, sides * 0, sides, sides], dim=1)

    assert pool.nearest(regions).tolist() == [0, 0, 1, 1, 2]


def test_windows_come_from_their_own_scale() -> None:
    specs = {f"s16@{ratio}": FeatureSpec(2, 16 / ratio) for ratio in (1.0, 0.5)}
    source = torch.Generator().manual_seed(3)
    maps = {
        "s16@1.0": torch.randn(1, 2, 40, 40, generator=source),
        "s16@0.5": torch.randn(1, 2, 20, 20, generator=source),
    }
    given = torch.tensor([[[0.0, 0, 224, 224], [16, 32, 630, 640]]])

    pooled = SpatialPyramid(specs)(maps, Candidates(given, torch.ones(1, 2, dtype=torch.bool))).squeeze(2)

    torch.testing.assert_close(pooled[0], plain(maps["s16@1.0"][0], given[0, 0].tolist(), 16.0, 0.0))
    torch.testing.assert_close(pooled[1], plain(maps["s16@0.5"][0], given[0, 1].tolist(), 32.0, 0.0))


def test_the_release_maps_right_and_bottom_unlike_left_and_top() -> None:
    """spm_response_boxes.m with offset0 21 and offset 6.5 of stride 16, counted from 0."""
    offset0, offset, stride = 21.0, 6.5, 16.0
    pool = SpatialPyramid(
        {"s16": FeatureSpec(1, stride)},
        offset=-offset0 + offset - stride / 2,
        end_offset=-offset0 - offset + stride / 2,
    )
    given = boxes(60, 5) + torch.tensor([60.0, 60, 140, 140])
    found = pool.windows(torch.cat([torch.zeros(60, 1), given], 1), 1 / stride, (100, 100))[:, 1:].tolist()
    for box, window in zip(given.tolist(), found, strict=True):
        low = [math.floor((x - offset0 + offset) / stride + 0.5) for x in box[:2]]
        high = [math.ceil((x - offset0 - offset) / stride - 0.5) for x in box[2:]]
        assert window == [*low, *high]
