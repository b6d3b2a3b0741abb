"""Windows of pixels against the closed form on a ramp."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.types import Candidates
from detzoo_rcnn.warp import Warp

HEIGHT, WIDTH = 40, 60


def ramp() -> Tensor:
    """Pixel (x, y) holds its centre: x + 0.5 and y + 0.5, and 1 in the third channel; [1,3,40,60]."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).unsqueeze(0)


def regions(*boxes: tuple[float, float, float, float]) -> Candidates:
    return Candidates(torch.tensor([boxes]).reshape(1, -1, 4), torch.ones(1, len(boxes), dtype=torch.bool))


def test_no_regions() -> None:
    windows = Warp(size=(8, 6), context=0)({"pixels": ramp()}, regions())

    assert windows.shape == (0, 3, 8, 6)


def test_context_is_measured_in_the_warped_frame() -> None:
    """A region of 20 x 16 px in a window of 10 x 10 with 1 px of context: 8 px of window are 20 px of image across.

    So a window's pixel is 2.5 px wide and 2 px high, and the window reaches from 22.5 to 47.5 and from 8 to 28:
    pixel j is centred on 22.5 + 2.5 (j + 0.5), row i on 8 + 2 (i + 0.5).
    """
    windows = Warp(size=(10, 10), context=1)({"pixels": ramp()}, regions((25, 10, 45, 26)))

    cells = torch.arange(10) + 0.5
    torch.testing.assert_close(windows[0, 0], (22.5 + 2.5 * cells).expand(10, 10))
    torch.testing.assert_close(windows[0, 1], (8 + 2 * cells)[:, None].expand(10, 10))
    torch.testing.assert_close(windows[0, 2], torch.ones(10, 10))


def test_what_lies_outside_the_image_is_the_mean() -> None:
    """A region of 8 x 8 px around the corner at (0, 0), no context: three of four quarters see nothing."""
    (window,) = Warp(size=(8, 8), context=0)({"pixels": ramp()}, regions((-4, -4, 4, 4)))

    expected = torch.zeros(8, 8)
    expected[4:, 4:] = 1
    assert torch.equal(window[2], expected)
    torch.testing.assert_close(window[0, 4:, 4:], (torch.arange(4) + 0.5).expand(4, 4))


def test_a_square_frame_keeps_proportions() -> None:
    """The tightest square around 20 x 10 px is 20 x 20 around the same middle: y from 5 to 25."""
    windows = Warp(size=(10, 10), context=0, frame="square")({"pixels": ramp()}, regions((10, 10, 30, 20)))

    cells = 2 * (torch.arange(10) + 0.5)
    torch.testing.assert_close(windows[0, 0], (10 + cells).expand(10, 10))
    torch.testing.assert_close(windows[0, 1], (5 + cells)[:, None].expand(10, 10))


def test_several_samples_are_averaged() -> None:
    """A window's pixel over 4 x 4 px of noise is the mean of its four samples, each the mean of four pixels."""
    pixels = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))

    windows = Warp(size=(5, 5), context=0, samples=2)({"pixels": pixels}, regions((8, 4, 28, 24)))

    blocks = pixels[0, :, 4:24, 8:28].unfold(1, 4, 4).unfold(2, 4, 4)  # [3,5,5,4,4]
    torch.testing.assert_close(windows[0], blocks.mean(dim=(-1, -2)))


def test_each_region_is_cut_from_its_own_image() -> None:
    pixels = torch.cat([ramp(), ramp() + 100])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 20, 20]], [[5, 5, 20, 20], [0, 0, 10, 10]]])

    windows = Warp(size=(4, 4), context=1)({"pixels": pixels}, Candidates(boxes, torch.ones(2, 2, dtype=torch.bool)))

    inside = windows[:, 2:] > 0
    torch.testing.assert_close(torch.where(inside, windows[3], 0)[3], torch.where(inside, windows[0] + 100, 0)[0])
    torch.testing.assert_close(windows[2], windows[1] + 100)


def test_a_context_that_leaves_nothing() -> None:
    with pytest.raises(RecipeError) as caught:
        Warp(size=(32, 40), context=16)

    assert str(caught.value) == (
        "warp: a context of 16 px on both sides leaves nothing of a window of 32 x 40 px; it may be 15 at most"
    )
