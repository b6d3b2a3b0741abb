"""Sine encodings against DETR's formula, written out in NumPy; padding by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from detzoo_detr.deformable_encoder import DeformableMemory
from detzoo_detr.position import Cells, locate, sine


def by_formula(inside: NDArray[np.bool_], numbers: int) -> NDArray[np.float64]:
    """float64 [h,w,F]: appendix A.4 of the paper; its code counts the cells of the image and divides by the last."""
    height, width = inside.shape
    half = numbers // 2
    found = np.zeros((height, width, numbers))
    rows, columns = inside.cumsum(0), inside.cumsum(1)
    for y in range(height):
        for x in range(width):
            for block, value in ((0, rows[y, x] / rows[-1, x]), (half, columns[y, x] / columns[y, -1])):
                for i in range(half):
                    angle = 2 * math.pi * value / 10_000 ** (2 * (i // 2) / half)
                    found[y, x, block + i] = math.cos(angle) if i % 2 else math.sin(angle)
    return found


def test_no_positions() -> None:
    assert sine(torch.zeros(0), 8).shape == (0, 8)


def test_a_sine_by_hand() -> None:
    # T^(2i/F) is 1 for the first pair and 10000^(1/2) = 100 for the second
    expected = [math.sin(3.0), math.cos(3.0), math.sin(0.03), math.cos(0.03)]
    assert sine(torch.tensor(3.0), 4).tolist() == pytest.approx(expected)


def test_a_whole_image_is_encoded_as_the_paper_does() -> None:
    found = locate(torch.tensor([[0.0, 0, 160, 96]]), (3, 5), (96, 160), 16, middle=False)
    assert found.inside.all()
    expected = by_formula(np.ones((3, 5), np.bool_), 16)
    np.testing.assert_allclose(found.position[0].view(3, 5, 16), expected, atol=1e-5)


def test_padding_is_not_counted() -> None:
    """An image of 64 x 96 px in the left top corner: two rows and three columns of cells of 32 px."""
    found = locate(torch.tensor([[0.0, 0, 96, 64]]), (3, 5), (96, 160), 16, middle=False)
    inside = np.zeros((3, 5), np.bool_)
    inside[:2, :3] = True
    assert (found.inside[0].view(3, 5).numpy() == inside).all()
    expected = by_formula(inside[:2, :3], 16)
    np.testing.assert_allclose(found.position[0].view(3, 5, 16)[:2, :3], expected, atol=1e-5)


def test_an_image_thinner_than_a_cell_still_has_cells() -> None:
    found = locate(torch.tensor([[0.0, 40, 160, 50]]), (3, 5), (96, 160), 8, middle=True)
    assert found.inside[0].view(3, 5).tolist() == [[False] * 5, [True] * 5, [False] * 5]


def test_middles_of_cells_are_in_fractions_of_the_image() -> None:
    found = locate(torch.tensor([[0.0, 0, 64, 32]]), (1, 2), (32, 64), 8, middle=True)
    assert found.centre.tolist() == [[[0.25, 0.5], [0.75, 0.5]]]


def frames(*regions: list[float]) -> Tensor:
    """Of images in 96 x 160 px, on a map of 3 x 5 cells of 32 px."""
    return locate(torch.tensor(regions).view(-1, 4), (3, 5), (96, 160), 8, middle=True, dtype=torch.float64).frame


def test_no_images_have_no_frames() -> None:
    assert frames().shape == (0, 1, 4)


def test_a_frame_is_where_the_image_lies_on_the_map_by_hand() -> None:
    found = frames(
        [0.0, 0, 160, 96],  # the whole map
        [0.0, 0, 96, 64],  # three of five columns, two of three rows
        [64.0, 32, 160, 96],  # behind two columns and one row of padding
        [16.0, 0, 80, 96],  # three columns, of the first and the third a half: cells count as a whole
        [0.0, 40, 160, 50],  # within one row
    )
    whole, corner, behind = [0, 0, 1, 1], [0, 0, 3 / 5, 2 / 3], [2 / 5, 1 / 3, 3 / 5, 2 / 3]
    halves, thin = [0, 0, 3 / 5, 1], [0, 1 / 3, 1, 1 / 3]
    expected = torch.tensor([whole, corner, behind, halves, thin], dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_points_and_boxes_of_an_image_on_two_maps_by_hand() -> None:
    """On the coarser map the image begins at 1/2 and 1/4 and is half as wide and high as the map."""
    frame = torch.tensor([[[0.0, 0, 1, 1], [0.5, 0.25, 0.5, 0.5]]])
    nothing = torch.zeros(1, 0)
    memory = DeformableMemory(nothing, Cells(nothing, nothing, nothing, frame), [(4, 4), (2, 2)])
    box = torch.tensor([[[0.5, 0.5, 0.2, 0.4]]])
    assert memory.on_maps(box[..., :2]).tolist() == [[[[0.5, 0.5], [0.75, 0.5]]]]
    expected = torch.tensor([[[[0.5, 0.5, 0.2, 0.4], [0.75, 0.5, 0.1, 0.2]]]])
    torch.testing.assert_close(memory.on_maps(box), expected)
