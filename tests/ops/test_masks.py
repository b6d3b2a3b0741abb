"""Mask targets and pasting: torchvision as the reference, plain loops and arithmetic beside it."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image, project_masks_on_boxes

from detzoo.ops import masks as module
from detzoo.ops.mask_encoding import NO_MASK, encode_polygons, encode_rle, mask_area, run_lengths
from detzoo.ops.masks import Paste, mask_targets, paste_masks, paste_probabilities

BOTH = pytest.mark.parametrize("convention", ["integer", "half_pixel"])
SIZES = [(48, 64), (17, 16), (1, 1)]


def random_boxes(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Inside the image, of all sizes, some cut by its borders."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.tensor([float(width), float(height)])
    centre, half = torch.rand(count, 2, generator=generator) * side, torch.rand(count, 2, generator=generator) * side
    boxes = torch.cat([centre - half / 2, centre + half / 2], 1)
    return torch.minimum(boxes.clamp(min=0), side.repeat(2))


def random_logits(count: int, side: int = 7, seed: int = 0) -> Tensor:
    return 3 * torch.randn(count, side, side, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------------------------ targets


def test_no_regions_no_masks_give_nothing() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert mask_targets(torch.zeros(0, 8, 8, dtype=torch.uint8), torch.zeros(0, 4), none, 14).shape == (0, 14, 14)
    without = mask_targets(torch.zeros(0, 8, 8, dtype=torch.uint8), torch.ones(2, 4), torch.tensor([-1, -1]), 3)
    assert without.tolist() == torch.zeros(2, 3, 3).tolist()
    assert mask_targets(torch.ones(1, 8, 8, dtype=torch.uint8), torch.zeros(0, 4), none, 3).shape == (0, 3, 3)


@pytest.mark.parametrize("side", [7, 28])
@pytest.mark.parametrize("pixels", [1 << 24, 1])
def test_torchvision_cuts_out_the_same_targets(side: int, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALIGNED_PIXELS", pixels)  # all at once, or one mask after the other
    generator = torch.Generator().manual_seed(1)
    masks = (torch.rand(5, 48, 64, generator=generator) < 0.5).to(torch.uint8)
    boxes = random_boxes(20, 48, 64)
    row = torch.randint(0, 5, (20,), generator=generator)
    expected = project_masks_on_boxes(masks, boxes, row, side)
    assert torch.equal(mask_targets(masks, boxes, row, side), expected)
    monkeypatch.setattr(module, "allows_dynamic_shapes", lambda _: False)  # the way without data-dependent shapes
    assert torch.equal(mask_targets(masks, boxes, row, side), expected)


def test_a_region_of_whole_pixels_without_half_pixel_shift() -> None:
    # 2x2 cells of 2 px each, 2x2 samples a cell at whole pixel coordinates + 0.5: RoIAlign without the shift reads the
    # value at x + 0.5 as the mean of pixels x and x + 1. Columns 0..3 of the mask are 0, 0, 1, 1.
    mask = torch.tensor([[0, 0, 1, 1, 1]] * 5, dtype=torch.uint8)[None]
    found = mask_targets(mask, torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([0]), 2)
    # cell 0 samples x = 0.5 (0) and 1.5 (0.5), cell 1 samples 2.5 (1) and 3.5 (1)
    assert found.tolist() == [[[0.25, 1.0], [0.25, 1.0]]]


def test_rows_without_a_mask_are_zeros() -> None:
    masks = torch.ones(2, 8, 8, dtype=torch.uint8)
    boxes = torch.tensor([[1.0, 1.0, 5.0, 5.0]] * 3)
    assert mask_targets(masks, boxes, torch.tensor([-1, 1, -1]), 4).sum((1, 2)).tolist() == [0, 16, 0]


def test_a_one_pixel_region_and_one_beyond_the_border() -> None:
    masks = torch.zeros(1, 8, 8, dtype=torch.uint8)
    masks[0, 3:, 3:] = 1
    boxes = torch.tensor([[4.0, 4.0, 5.0, 5.0], [6.0, 6.0, 12.0, 12.0], [20.0, 20.0, 30.0, 30.0]])
    one, cut, outside = mask_targets(masks, boxes, torch.tensor([0, 0, 0]), 4)
    assert one.tolist() == torch.ones(4, 4).tolist()
    assert cut[0, 0] == 1
    assert cut[-1, -1] == 0
    assert outside.sum() == 0


# ------------------------------------------------------------------------------------------------ pasting


@BOTH
def test_nothing_to_paste(convention: Paste) -> None:
    found = paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6), convention=convention)
    assert found.shape == (0, 5, 6)
    assert found.dtype == torch.bool
    assert paste_probabilities(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6), convention=convention).shape == (
        0,
        5,
        6,
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [7, 28])
def test_torchvision_pastes_the_same_masks(size: tuple[int, int], side: int) -> None:
    boxes, logits = random_boxes(30, *size), random_logits(30, side)
    expected = paste_masks_in_image(logits.sigmoid()[:, None], boxes, size)[:, 0]
    soft = paste_probabilities(logits, boxes, size, convention="integer")
    torch.testing.assert_close(soft, expected, atol=1e-5, rtol=0)
    hard = paste_masks(logits, boxes, size, convention="integer")
    sure = (expected - 0.5).abs() > 1e-5
    assert torch.equal(hard[sure], (expected > 0.5)[sure])


def test_integer_paste_in_a_plain_loop() -> None:
    # m = 2, so the box grows by 4/2 about its centre: 3..7 becomes 1..9, 9 whole px with the last; 2..4 becomes 1..5
    logits, size = torch.tensor([[[4.0, -4.0], [-4.0, 4.0]]]), (8, 12)
    padded = np.pad(1 / (1 + np.exp(-logits[0].double().numpy())), 1)
    found = paste_probabilities(logits, torch.tensor([[3.0, 2.0, 7.0, 4.0]]), size, convention="integer")[0]
    for y in range(size[0]):
        for x in range(size[1]):
            inside = 1 <= x <= 9 and 1 <= y <= 5
            u, v = ((x - 1) + 0.5) * 4 / 9 - 0.5, ((y - 1) + 0.5) * 4 / 5 - 0.5
            expected = bilinear(padded, min(max(u, 0), 3), min(max(v, 0), 3)) if inside else 0.0
            assert float(found[y, x]) == pytest.approx(expected, abs=1e-6), (x, y)


def test_half_pixel_paste_in_a_plain_loop() -> None:
    # the mask's four cells lie exactly on the box; pixel centres are looked up, zeros all around
    logits, size = torch.tensor([[[4.0, -4.0], [-4.0, 4.0]]]), (8, 12)
    probabilities = 1 / (1 + np.exp(-logits[0].double().numpy()))
    x1, y1, x2, y2 = 2.5, 1.25, 9.5, 6.0
    found = paste_probabilities(logits, torch.tensor([[x1, y1, x2, y2]]), size, convention="half_pixel")[0]
    padded = np.pad(probabilities, 3)
    for y in range(size[0]):
        for x in range(size[1]):
            u, v = (x + 0.5 - x1) / (x2 - x1) * 2 - 0.5, (y + 0.5 - y1) / (y2 - y1) * 2 - 0.5
            assert float(found[y, x]) == pytest.approx(bilinear(padded, u + 3, v + 3), abs=1e-6), (x, y)


def test_half_pixel_paste_is_grid_sampling() -> None:
    # detectron2's _do_paste_mask
    boxes, logits, (height, width) = random_boxes(12, 40, 50), random_logits(12), (40, 50)
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    across = (x[None] - boxes[:, 0:1]) / (boxes[:, 2:3] - boxes[:, 0:1]) * 2 - 1
    down = (y[None] - boxes[:, 1:2]) / (boxes[:, 3:4] - boxes[:, 1:2]) * 2 - 1
    grid = torch.stack([across[:, None].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)], 3)
    expected = torch.nn.functional.grid_sample(logits.sigmoid()[:, None], grid, align_corners=False)[:, 0]
    found = paste_probabilities(logits, boxes, (height, width), convention="half_pixel")
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def bilinear(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], x: float, y: float) -> float:
    """Value at column x, row y; 0 far outside."""
    height, width = values.shape
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total += float(values[row, column]) * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_integer_pasting_makes_objects_larger() -> None:
    # a full mask on whole pixels: half_pixel gives the box back; integer grows 4..12 to 3.71..12.29, cuts to whole
    # pixels 3..12, both included, and stretches 30 cells of which 28 are full over these 10: all 10 are full
    full, box = torch.full((1, 28, 28), 20.0), torch.tensor([[4.0, 4.0, 12.0, 12.0]])
    exact = paste_masks(full, box, (16, 16), convention="half_pixel")[0].nonzero()
    assert (exact.amin(0).tolist(), exact.amax(0).tolist()) == ([4, 4], [11, 11])
    larger = paste_masks(full, box, (16, 16), convention="integer")[0].nonzero()
    assert (larger.amin(0).tolist(), larger.amax(0).tolist()) == ([3, 3], [12, 12])


@pytest.mark.parametrize("box", [[0.0, 0.0, 1.0, 1.0], [14.0, 9.0, 15.0, 10.0], [3.2, 3.2, 4.2, 4.2]])
def test_a_full_mask_on_one_pixel(box: list[float]) -> None:
    # integer: both end pixels belong to it, so 2 x 2; of the 3 x 3 in the image's corner, 13.96 being cut to 13, too
    full, place = torch.full((1, 28, 28), 20.0), torch.tensor([box])
    exact = paste_masks(full, place, (10, 15), convention="half_pixel")[0]
    assert exact.nonzero().tolist() == [[int(box[1]), int(box[0])]]
    assert int(paste_masks(full, place, (10, 15), convention="integer")[0].sum()) == 4


@BOTH
def test_boxes_without_area_or_number_give_no_mask_or_the_references(convention: Paste) -> None:
    boxes = torch.tensor([[5.0, 5.0, 5.0, 9.0], [float("nan"), 0.0, 4.0, 4.0], [50.0, 50.0, 60.0, 60.0]])
    found = paste_masks(torch.full((3, 28, 28), 20.0), boxes, (10, 15), convention=convention)
    assert found[2].sum() == 0  # outside
    if convention == "half_pixel":
        assert found.sum() == 0
    else:
        expected = paste_masks_in_image(torch.ones(1, 1, 28, 28), boxes[:1], (10, 15))[0, 0] > 0.5
        assert torch.equal(found[0], expected)


@BOTH
def test_masks_end_at_the_borders_of_the_image(convention: Paste) -> None:
    boxes = torch.tensor([[-10.0, -10.0, 10.0, 10.0], [5.0, 5.0, 30.0, 30.0]])
    first, second = paste_masks(torch.full((2, 28, 28), 20.0), boxes, (12, 16), convention=convention)
    assert first[:9, :9].all()
    assert not first[11:, :].any()
    assert second[6:, 6:].all()


@BOTH
def test_the_threshold_moves_the_outline(convention: Paste) -> None:
    logits = torch.linspace(-6, 6, 28).expand(28, 28)[None]
    areas = [
        int(
            paste_masks(
                logits, torch.tensor([[2.0, 2.0, 30.0, 30.0]]), (32, 32), convention=convention, threshold=t
            ).sum()
        )
        for t in (0.1, 0.5, 0.9)
    ]
    assert areas == sorted(areas, reverse=True)
    assert len(set(areas)) == 3


@BOTH
def test_a_box_pasted_in_strips_has_no_seams(convention: Paste, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, logits = random_boxes(4, 60, 90), random_logits(4)
    whole = paste_probabilities(logits, boxes, (60, 90), convention=convention)
    monkeypatch.setattr(module, "_STRIP_PIXELS", 100)
    strips = paste_probabilities(logits, boxes, (60, 90), convention=convention)
    torch.testing.assert_close(strips, whole, atol=1e-6, rtol=0)


@BOTH
def test_a_hundred_masks_on_4000_px_touch_only_their_boxes(convention: Paste) -> None:
    corner = torch.arange(100.0)[:, None] * 30
    boxes = torch.cat([corner, corner, corner + 200, corner + 200], 1)
    tracemalloc.start()
    found = paste_masks(random_logits(100, 28), boxes, (4000, 4000), convention=convention)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.shape == (100, 4000, 4000)
    assert peak < 100 * 4000 * 4000 + (32 << 20)  # the answer's bytes, and next to nothing beside them
    assert len(run_lengths(found[:2].numpy())) == 2


def test_only_the_sign_of_a_mirrored_mask_changes_sides() -> None:
    # W - x: a mask pasted on the mirrored box is the mirrored mask, to the pixel, under the half-pixel rule
    logits, width = random_logits(1, 28), 41
    box = torch.tensor([[3.25, 2.0, 30.5, 25.0]])
    mirrored = torch.tensor([[width - 30.5, 2.0, width - 3.25, 25.0]])
    there = paste_probabilities(logits, box, (30, width), convention="half_pixel")
    back = paste_probabilities(logits.flip(2), mirrored, (30, width), convention="half_pixel")
    torch.testing.assert_close(back, there.flip(2), atol=1e-5, rtol=0)


def test_areas_of_encoded_masks_without_drawing_them() -> None:
    assert mask_area(NO_MASK, (10, 10)) is None
    assert mask_area(encode_polygons([[0, 0, 4, 0, 4, 3], [5, 5, 7, 5, 7, 9, 5, 9]]), (10, 10)) == 6 + 8
    assert mask_area(encode_polygons([[-5, 2, 5, 2, 5, 4, -5, 4]]), (10, 10)) == 10
    assert mask_area(encode_rle([3, 5, 90, 2], (10, 10)), (10, 10)) == 7
    drawn = np.zeros((1, 10, 10), np.uint8)
    drawn[0, 2:5, 1:7] = 1
    assert mask_area(encode_rle(run_lengths(drawn)[0]["counts"], (10, 10)), (10, 10)) == 18
