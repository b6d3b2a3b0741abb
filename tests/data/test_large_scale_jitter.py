"""Large-scale jitter: the size, where a crop may lie, what is filled, which boxes stay."""

from __future__ import annotations

import numpy as np
import pytest

from detzoo.data.loading.transforms import LargeScaleJitter
from detzoo.errors import RecipeError
from detzoo.testing.specimens import draw_from
from tests.data.test_transforms_of_several_images import bounds, image_of


def test_a_smaller_image_lies_at_the_top_left_on_the_mean_colour() -> None:
    # 40 x 20 (width x height) fits into 80 x 60 twice; half of that is its own size
    jitter = LargeScaleJitter(None, size=(60, 80), scale=(0.5, 0.5))
    before = image_of(20, [[4, 4, 12, 16]])
    found = jitter(before, np.random.default_rng(0), draw_from())
    assert found.image.shape == (60, 80, 3)
    np.testing.assert_array_equal(found.image[:20, :40], before.image)
    assert found.image[40, 60].tolist() == [123, 117, 104]
    assert found.boxes.tolist() == [[4, 4, 12, 16]]
    assert found.masks is not None
    assert bounds(found.masks[0]) == [4, 4, 12, 16]


def test_a_larger_image_is_cut_at_random_and_boxes_with_it() -> None:
    # twice as large as fits: 80 x 40 of which 40 x 20 is seen, from x 0..40 and y 0..20
    jitter = LargeScaleJitter(None, size=(20, 40), scale=(2.0, 2.0))
    lefts, tops = set(), set()
    for seed in range(300):
        found = jitter(image_of(20, [[15, 8, 25, 12]]), np.random.default_rng(seed), draw_from())
        assert found.image.shape == (20, 40, 3)
        (x1, y1, x2, y2) = found.boxes[0].tolist()  # 30..50 by 16..24, less the corner
        if (x2 - x1, y2 - y1) == (20, 8):
            lefts.add(30 - x1)
            tops.add(16 - y1)
        assert found.masks is not None
        assert bounds(found.masks[0]) == [x1, y1, x2, y2]
    assert (min(lefts), max(lefts), min(tops), max(tops)) == (10, 30, 4, 16)


def test_the_scale_is_even_over_its_range() -> None:
    jitter, rng = LargeScaleJitter(None, size=(200, 200), scale=(0.1, 0.9)), np.random.default_rng(0)
    boxes = [jitter(image_of(20, [[0, 0, 40, 20]]), rng, draw_from()).boxes[0] for _ in range(600)]
    widths = [float(box[2]) for box in boxes]
    assert (20 <= min(widths) < 24, 176 < max(widths) <= 180) == (True, True)
    assert np.mean(widths) == pytest.approx(100, abs=6)  # even from 20 to 180: a deviation of 46 / 600 ** 0.5 = 1.9


def test_what_is_cut_or_shrunk_to_a_pixel_goes_and_what_was_thin_stays() -> None:
    thin, small, outside = [4.0, 4, 5, 5], [10.0, 4, 18, 12], [30.0, 0, 40, 20]
    half = LargeScaleJitter(None, size=(20, 40), scale=(0.1, 0.1))
    found = half(image_of(20, [thin, small]), np.random.default_rng(0), draw_from())
    assert found.labels.tolist() == [20]  # 0.1 px; the other is 0.8 px and was 8
    whole = LargeScaleJitter(None, size=(20, 20), scale=(2.0, 2.0))  # 40 x 20 px, of which a part 20 px wide is seen
    two = image_of(20, [thin, outside])
    kept = {tuple(whole(two, np.random.default_rng(seed), draw_from()).labels) for seed in range(60)}
    assert kept == {(20,), (21,), ()}  # the part begins at 0..4, 12..20, and between


def test_no_boxes_is_a_normal_case() -> None:
    found = LargeScaleJitter((20, 40))(image_of(20, []), np.random.default_rng(3), draw_from())
    assert (found.boxes.shape, found.image.shape) == ((0, 4), (20, 40, 3))
    with pytest.raises(RecipeError, match="size: give"):
        LargeScaleJitter(None)
