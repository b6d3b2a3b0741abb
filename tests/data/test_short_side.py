"""Sizes of ``input.short_side: exact``, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detzoo.errors import RecipeError
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import prepare, resized_size

EXACT = InputSpec(resize="shortest", min_size=96, max_size=160, short_side="exact")
SCALED = InputSpec(resize="shortest", min_size=96, max_size=160)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((48, 72), (96, 144)),  # twice as large
        ((50, 71), (96, 136)),  # 71 * 96 / 50 = 136.32 is cut
        ((71, 50), (136, 96)),  # the same on end
        ((300, 300), (96, 96)),
        ((96, 150), (96, 150)),  # nothing to do
        ((50, 120), (67, 160)),  # 230 px would be too long: 160 * 50 / 120 = 66.67 is rounded
        ((120, 50), (160, 67)),
        ((40, 300), (21, 160)),  # 160 * 40 / 300 = 21.33; DETR's own code goes on from 21: 157 px
        ((4, 170), (4, 170)),  # 160 * 4 / 170 = 3.76 rounds to the 4 px that it has, so it stays as long as it is
        ((1, 3200), (1, 160)),  # 0.05 px would be none
    ],
)
def test_by_hand(given: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_size(*given, EXACT) == expected


def test_scaled_cuts_the_short_side_too() -> None:
    assert resized_size(50, 120, SCALED) == (66, 160)


def test_images_of_a_batch_lie_where_they_are_that_large() -> None:
    batch = prepare([np.zeros((50, 120, 3), np.uint8), np.zeros((71, 50, 3), np.uint8)], EXACT)
    assert batch.pixels.shape == (2, 3, 136, 160)
    sizes = batch.region[:, 2:] - batch.region[:, :2]
    assert sizes.tolist() == [[160, 67], [96, 136]]
    np.testing.assert_allclose(batch.scale, [[67 / 50, 160 / 120], [136 / 71, 96 / 50]], rtol=1e-6)


def test_it_belongs_to_the_shortest_side() -> None:
    with pytest.raises(RecipeError, match="input: short_side: exact belongs to resize: shortest"):
        InputSpec(size=(96, 160), short_side="exact")
