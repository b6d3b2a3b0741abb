"""Damaged and far-reaching masks: rejected or clipped before pycocotools' C code, which would crash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, decode_mask, encode_polygons, to_rle, unpack_counts
from detzoo.ops.segmentation import encode_segmentation, pack_segmentation

SIZE = (30, 40)


def pixels(segmentation: Any) -> int:
    return int(coco_mask.area(pack_segmentation(segmentation, SIZE)))


@pytest.mark.parametrize("value", [None, []])
def test_no_mask(value: Any) -> None:
    assert encode_segmentation(value, SIZE) == NO_MASK
    assert pixels(value) == 0


@pytest.mark.parametrize("value", [[[]], [[1, 2]], [[1, 2, 3, 4]], [[], [5, 5]]])
def test_fewer_than_three_points_enclose_nothing(value: Any) -> None:
    assert encode_segmentation(value, SIZE) == NO_MASK


@pytest.mark.parametrize("seed", range(20))
def test_a_clipped_polygon_has_the_pixels_of_the_whole_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-3000, 3000, (int(rng.integers(3, 9)), 2)) + np.array([20, 15])
    flat = points.ravel().tolist()
    whole = int(coco_mask.area(coco_mask.merge(coco_mask.frPyObjects([flat], *SIZE))))
    assert abs(pixels([flat]) - whole) <= 8  # edges are rounded to a fifth of a px at other places


@pytest.mark.parametrize("far", [1e5, 1e9, 1e12, 1e100, 1e308, 10**300])
def test_points_at_any_distance_are_clipped(far: float) -> None:
    assert pixels([[10, 10, far, 10, far, 20, 10, 20]]) == 30 * 10
    assert pixels([[-far, -far, far, -far, far, far, -far, far]]) == 30 * 40
    assert pixels([[far, far, far, 2 * 10, far, 20]]) == 0


def test_a_polygon_near_its_image_is_given_as_it_is() -> None:
    part = [-12.5, 3.0, 38.0, -9.0, 44.0, 33.0]
    expected = coco_mask.merge(coco_mask.frPyObjects([part], *SIZE))
    assert to_rle(encode_polygons([part]), SIZE)["counts"] == expected["counts"]


def test_an_endless_outline_is_rejected() -> None:
    zigzag = [value for n in range(60_000) for value in (0.0, 79.0 * (n % 2))]
    with pytest.raises(DataError, match="px long"):
        to_rle(encode_polygons([zigzag]), SIZE)


@pytest.mark.parametrize(
    "value",
    [
        "round",
        7,
        True,
        {},
        [1, 2, "3", 4, 5, 6],
        [[1, 2, 3, 4, 5]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[1, 2, float("inf"), 4, 5, 6]],
        [[1, 2, 10**400, 4, 5, 6]],
        [[1, 2, True, 4, 5, 6]],
        [[1, 2, 3, 4, 5, 6], None],
        [{"size": [30, 40], "counts": [1200]}],
        {"size": [30, 40]},
        {"counts": [1200]},
        {"size": [40, 30], "counts": [1200]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [30, 40, 1], "counts": [1200]},
        {"size": "30x40", "counts": [1200]},
        {"size": [30.5, 40], "counts": [1200]},
        {"size": [30, 40], "counts": [1199]},
        {"size": [30, 40], "counts": [-1, 1201]},
        {"size": [30, 40], "counts": [1200.0]},
        {"size": [30, 40], "counts": [10**400]},
        {"size": [30, 40], "counts": []},
        {"size": [30, 40], "counts": ""},
        {"size": [30, 40], "counts": "\x00"},
        {"size": [30, 40], "counts": "é"},
        {"size": [30, 40], "counts": "oooooooooooo0"},
        {"size": [30, 40], "counts": {"0": 1200}},
    ],
    ids=lambda value: str(value)[:40],
)
def test_damaged_values_are_rejected_with_a_message(value: Any) -> None:
    with pytest.raises(DataError):
        encode_segmentation(value, SIZE)
    with pytest.raises(DataError):
        pack_segmentation(value, SIZE)


def test_run_lengths_of_an_image_of_unknown_size_are_bounded() -> None:
    with pytest.raises(DataError, match="larger than any image"):
        encode_segmentation({"size": [10**6, 10**6], "counts": [10**12]}, (0, 0))
    assert encode_segmentation({"size": [2, 3], "counts": [6]}, (0, 0))


@pytest.mark.parametrize("seed", range(10))
def test_cut_and_changed_run_lengths_never_pass_for_whole_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.asfortranarray(rng.random(SIZE) < 0.3, np.uint8)
    counts: bytes = coco_mask.encode(mask)["counts"]
    assert int(unpack_counts(counts, mask.size)[1::2].sum()) == int(mask.sum())
    for end in range(len(counts)):
        with pytest.raises(DataError):
            unpack_counts(counts[:end], mask.size)
    for at in rng.integers(0, len(counts), 50):
        changed = bytearray(counts)
        changed[at] = int(rng.integers(0, 256))
        try:
            runs = unpack_counts(bytes(changed), mask.size)
        except DataError:
            continue
        assert (runs >= 0).all()
        assert runs.sum() == mask.size


def test_a_mask_of_another_size_than_its_image_is_rejected() -> None:
    with pytest.raises(DataError, match="lies on an image"):
        decode_mask(encode_segmentation({"size": [2, 3], "counts": [6]}, (0, 0)), (3, 2))
