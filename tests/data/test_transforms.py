"""Augmentations: boxes, masks and proposals follow the image; each rule by numbers done by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest

from detzoo.data.loading.transforms import (
    ColourJitter,
    Expand,
    Flip,
    HsvShift,
    IouCrop,
    MildCrop,
    PhotometricDistort,
    QuarterTurn,
    VerticalFlip,
)
from detzoo.data.loading.transforms.crops import cut
from detzoo.data.loading.transforms.photometric import linear, saturation_and_hue
from detzoo.data.shapes import ShapesDataset
from detzoo.interfaces import Transform
from detzoo.testing.specimens import draw_from
from detzoo.types import Sample

ALL: list[Transform] = [
    PhotometricDistort(),
    ColourJitter(p=1.0),
    HsvShift(),
    Expand(p=1.0),
    IouCrop(),
    MildCrop(p=1.0),
    Flip(p=1.0),
    VerticalFlip(p=1.0),
    QuarterTurn(p=1.0),
]


def sample(boxes: list[list[float]], height: int = 20, width: int = 40, **more: Any) -> Sample:
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
    array = np.array(boxes, np.float32).reshape(-1, 4)
    fields: dict[str, Any] = {
        "image": np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8),
        "boxes": array,
        "labels": np.arange(len(boxes), dtype=np.int64),
        "difficult": np.zeros(len(boxes), np.bool_),
        "crowd": np.zeros(len(boxes), np.bool_),
        "image_id": 1,
        "path": "a.png",
        "masks": masks,
        "proposals": array.copy(),
    }
    return Sample(**{**fields, **more})


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_no_boxes_is_a_normal_case(transform: Transform) -> None:
    for seed in range(5):
        out = transform(sample([]), np.random.default_rng(seed), draw_from())
        assert out.boxes.shape == (0, 4)
        assert out.boxes.dtype == np.float32
        assert out.masks is not None
        assert out.masks.shape == (0, *out.image.shape[:2])
        assert out.proposals is not None
        assert out.proposals.shape == (0, 4)


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_boxes_stay_the_bounds_of_their_masks(transform: Transform) -> None:
    data = ShapesDataset(count=12)
    kept = 0
    for position in range(12):
        before = data.sample(position)
        before = dataclasses.replace(before, proposals=before.boxes.copy())
        copy = dataclasses.replace(before, image=before.image.copy(), boxes=before.boxes.copy())
        out = transform(before, np.random.default_rng(position), draw_from())
        np.testing.assert_array_equal(before.image, copy.image)  # the given sample is not changed
        np.testing.assert_array_equal(before.boxes, copy.boxes)
        assert out.image.dtype == np.uint8
        assert out.boxes.dtype == np.float32
        assert out.masks is not None
        assert out.masks.shape == (len(out.boxes), *out.image.shape[:2])
        assert len(out.labels) == len(out.boxes) == len(out.difficult) == len(out.crowd)
        for box, mask in zip(out.boxes, out.masks, strict=True):
            rows, columns = np.nonzero(mask)
            if len(rows) == 0:
                continue  # only the empty corner of its box is left
            # cut boxes may be larger than what is left of a turned shape, never smaller
            assert box[0] <= columns.min()
            assert box[1] <= rows.min()
            assert box[2] >= columns.max() + 1
            assert box[3] >= rows.max() + 1
            kept += 1
        assert out.proposals is not None
        assert all(any(np.array_equal(box, other) for other in out.proposals) for box in out.boxes)
    assert kept > 10


@pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)
def test_the_generator_alone_decides(transform: Transform) -> None:
    one = ShapesDataset().sample(1)
    first, again = (transform(one, np.random.default_rng(3), draw_from()) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)


def test_flip_takes_x_to_w_minus_x() -> None:
    out = Flip(p=1.0)(sample([[1, 2, 11, 8]]), np.random.default_rng(0), draw_from())
    assert out.boxes.tolist() == [[29, 2, 39, 8]]
    assert out.proposals is not None
    assert out.proposals.tolist() == [[29, 2, 39, 8]]
    np.testing.assert_array_equal(out.image, sample([]).image[:, ::-1])


def test_vertical_flip_takes_y_to_h_minus_y() -> None:
    out = VerticalFlip(p=1.0)(sample([[1, 2, 11, 8]]), np.random.default_rng(0), draw_from())
    assert out.boxes.tolist() == [[1, 12, 11, 18]]
    np.testing.assert_array_equal(out.image, sample([]).image[::-1])


def test_a_quarter_turn_takes_x_y_to_y_w_minus_x() -> None:
    from detzoo.data.loading.transforms.flips import turn

    out = turn(sample([[1, 2, 11, 8]]))
    assert out.image.shape == (40, 20, 3)
    assert out.boxes.tolist() == [[2, 29, 8, 39]]


def test_expand_puts_the_image_on_the_mean_colour() -> None:
    before = sample([[1, 2, 11, 8]])
    out = Expand(p=1.0, ratio=4.0)(before, np.random.default_rng(1), draw_from())
    height, width = out.image.shape[:2]
    assert 20 <= height <= 80
    assert 40 <= width <= 160
    left, top = int(out.boxes[0, 0]) - 1, int(out.boxes[0, 1]) - 2
    np.testing.assert_array_equal(out.image[top : top + 20, left : left + 40], before.image)
    outside = np.ones((height, width), bool)
    outside[top : top + 20, left : left + 40] = False
    assert set(map(tuple, out.image[outside].tolist())) == {(123, 117, 104)}


def test_a_box_stays_when_its_centre_lies_in_the_patch() -> None:
    from detzoo.data.loading.transforms.crops import _centred

    # centres 10 and 22; the patch ends at 20
    one = sample([[0, 0, 20, 10], [16, 0, 28, 10]])
    window = (5, 0, 20, 20)
    assert _centred(one, window).tolist() == [0]
    out = cut(one, window, _centred(one, window), (0, 0, 0))
    assert out.boxes.tolist() == [[0, 0, 15, 10]]
    assert out.image.shape == (20, 15, 3)


def test_crowd_regions_stay_while_they_are_seen() -> None:
    from detzoo.data.loading.transforms.crops import _centred

    one = sample([[16, 0, 28, 10]], crowd=np.array([True]))
    out = cut(one, (5, 0, 20, 20), _centred(one, (5, 0, 20, 20)), (0, 0, 0))
    assert out.boxes.tolist() == [[11, 0, 15, 10]]
    gone = cut(one, (0, 0, 10, 20), _centred(one, (0, 0, 10, 20)), (0, 0, 0))
    assert len(gone.boxes) == 0


def test_every_wanted_overlap_is_met_by_the_patch_that_is_taken() -> None:
    one = sample([[10, 5, 30, 15]])
    for wanted in (0.6, 0.8):  # above 1/2 the centre is always inside
        crop = IouCrop(min_overlaps=(wanted,), trials=1000)
        cropped = 0
        for seed in range(20):
            out = crop(one, np.random.default_rng(seed), draw_from())
            height, width = out.image.shape[:2]
            if (height, width) == (20, 40):
                continue
            cropped += 1
            seen = (out.boxes[:, 2:] - out.boxes[:, :2]).prod(axis=1)
            overlap = seen / (height * width + 200 - seen)
            assert len(overlap) == 1
            assert overlap[0] > wanted - 0.06  # patches are cut to whole pixels
        assert cropped >= 2


def test_the_whole_image_is_one_of_the_choices() -> None:
    # with six samplers that nearly always find something, one image in seven stays whole
    one = sample([[0, 0, 40, 20]])
    crop = IouCrop(min_overlaps=(0.1,) * 6)
    whole = sum(crop(one, np.random.default_rng(seed), draw_from()).image.shape == (20, 40, 3) for seed in range(700))
    assert 70 <= whole <= 135


def test_mild_crop_drops_what_is_hardly_seen() -> None:
    crop = MildCrop(scale=(0.5, 0.5), aspect=(1.0, 1.0), min_visible=0.3, p=1.0)
    one = sample([[0, 0, 10, 20]])
    for seed in range(30):
        out = crop(one, np.random.default_rng(seed), draw_from())
        assert out.image.shape == (10, 20, 3)
        for box in out.boxes:
            assert (box[2] - box[0]) * (box[3] - box[1]) >= 0.3 * 200


def test_mild_crop_fills_beyond_the_image() -> None:
    out = MildCrop(scale=(1.5, 1.5), aspect=(1.0, 1.0), p=1.0)(
        sample([[0, 0, 10, 20]]), np.random.default_rng(0), draw_from()
    )
    assert out.image.shape == (30, 60, 3)
    assert (out.boxes[:, 2:] - out.boxes[:, :2]).tolist() == [[10, 20]]


def test_bytes_saturate() -> None:
    image = np.array([[[0, 100, 250]]], np.uint8)
    assert linear(image, 1.0, 32.0)[0, 0].tolist() == [32, 132, 255]
    assert linear(image, 1.5, 0.0)[0, 0].tolist() == [0, 150, 255]
    assert linear(image, 1.0, 0.0) is image


def test_hue_wraps_and_saturation_scales() -> None:
    red = np.array([[[200, 0, 0]]], np.uint8)
    # 60 of 180 half degrees is 120 degrees: red to green; -60 is red to blue
    assert saturation_and_hue(red, 1.0, 60.0)[0, 0].tolist() == [0, 200, 0]
    assert saturation_and_hue(red, 1.0, -60.0)[0, 0].tolist() == [0, 0, 200]
    assert saturation_and_hue(red, 0.0, 0.0)[0, 0].tolist() == [200, 200, 200]


def test_hsv_shift_stays_within_its_reach_and_wraps_hue() -> None:
    red = np.full((1, 1, 3), (200, 0, 0), np.uint8)  # hue 0, saturation 255, value 200
    seen = set()
    for seed in range(40):
        found = HsvShift()(sample([], 1, 1, image=red), np.random.default_rng(seed), draw_from(sample([])))
        hue, saturation, value = (int(v) for v in cv2.cvtColor(found.image, cv2.COLOR_RGB2HSV)[0, 0])
        assert min(hue, 180 - hue) <= 6  # 5, and a step of rounding to RGB
        assert saturation >= 224
        assert abs(value - 200) <= 30
        seen.add((hue > 90, value != 200))
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def test_distortion_of_nothing_is_nothing() -> None:
    one = sample([])
    out = PhotometricDistort(p=0.0)(one, np.random.default_rng(0), draw_from())
    np.testing.assert_array_equal(out.image, one.image)
