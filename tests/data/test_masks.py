"""Encoded masks against pycocotools."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from detzoo.errors import DataError
from detzoo.ops.mask_encoding import (
    NO_MASK,
    decode_counts,
    decode_mask,
    encode_file,
    encode_polygons,
    encode_rle,
    run_lengths,
    to_rle,
)


def test_no_mask_is_all_zeros() -> None:
    assert decode_mask(NO_MASK, (3, 4)).tolist() == [[0] * 4] * 3


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 80)), int(rng.integers(1, 80)))
    mask = (rng.random(size) < (0.5, 0.01, 0.99, 0.0, 1.0, 0.3)[seed]).astype(np.uint8)
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
    np.testing.assert_array_equal(decode_counts(counts, size), mask)
    np.testing.assert_array_equal(decode_mask(encode_rle(counts.decode(), size), size), mask)


def test_uncompressed_run_lengths() -> None:
    # column by column: 1 zero, 3 ones, 2 zeros on 2 x 3
    assert decode_mask(encode_rle([1, 3, 2], (2, 3)), (2, 3)).tolist() == [[0, 1, 0], [1, 1, 0]]


def test_polygons_rasterise_as_pycocotools_does() -> None:
    parts = [[1.5, 1.5, 20.25, 3.0, 9.0, 25.75], [30.0, 5.0, 38.0, 5.0, 38.0, 12.0, 30.0, 12.0]]
    size = (30, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycocotools under NumPy 2
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, *size)))
    np.testing.assert_array_equal(decode_mask(encode_polygons(parts), size), expected)
    assert to_rle(encode_polygons(parts), size)["size"] == [30, 40]


def test_a_file_is_read_by_value(tmp_path: object) -> None:
    path = f"{tmp_path}/m.png"
    Image.fromarray(np.array([[0, 1, 2]], np.uint8)).save(path)
    assert decode_mask(encode_file(path), (1, 3)).tolist() == [[0, 1, 1]]
    assert decode_mask(encode_file(path, 2), (1, 3)).tolist() == [[0, 0, 1]]
    with pytest.raises(DataError) as caught:
        decode_mask(encode_file(path), (2, 3))
    assert str(caught.value) == "a mask of 3 x 1 px lies on an image of 3 x 2 px"


def test_damaged_run_lengths_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        decode_mask(encode_rle("5", (2, 2)), (2, 2))
    assert str(caught.value) == "the run lengths add up to 5, the mask has 4 px"


def test_no_masks_have_no_run_lengths() -> None:
    assert run_lengths(np.zeros((0, 4, 5), bool)) == []


@pytest.mark.parametrize("seed", range(12))
def test_written_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(1, 40)), int(rng.integers(1, 40))
    masks = rng.random((3, height, width)) < rng.choice([0.0, 0.02, 0.5, 0.98, 1.0])
    masks[:, :, : int(rng.integers(0, width))] &= seed % 2 == 0  # nothing at the left
    masks[2, : height // 2] = True  # columns that begin with the object
    encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    expected = [{"size": [height, width], "counts": one["counts"].decode()} for one in encoded]
    assert run_lengths(masks) == expected
    assert run_lengths(masks.astype(np.uint8)) == expected
