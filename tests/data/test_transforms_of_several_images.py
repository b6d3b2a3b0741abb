"""Mosaic, MixUp and copy-paste: where pixels, boxes and masks land, by numbers done by hand and by other formulas."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.data.loading.transforms import Affine, BoxFilter, CopyPaste, MixUp, Mosaic
from detzoo.data.loading.transforms.affine import affine_matrix, warp
from detzoo.errors import DataError, RecipeError
from detzoo.interfaces import Transform
from detzoo.testing.specimens import draw_from
from detzoo.types import Sample

EVERYTHING = BoxFilter(min_side=0.0, min_visible=0.0, max_aspect=1e9)
STILL = Affine(degrees=0, translate=0, scale=(1.0, 1.0), shear=0, keep=EVERYTHING)
SEVERAL: list[Transform] = [
    Mosaic(None, size=(24, 32)),
    Mosaic(None, size=(24, 32), affine=None),
    MixUp(None, size=(24, 32), weighted=True),
    CopyPaste(),
]


def image_of(colour: int, boxes: list[list[float]], height: int = 20, width: int = 40, **more: Any) -> Sample:
    """An image of one grey, each object a little lighter; masks fill the boxes."""
    count = len(boxes)
    masks = np.zeros((count, height, width), np.uint8)
    image = np.full((height, width, 3), colour, np.uint8)
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        masks[row, int(y1) : int(y2), int(x1) : int(x2)] = 1
        image[masks[row] > 0] = colour + 10 + row
    fields: dict[str, Any] = {
        "image": image,
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.arange(count, dtype=np.int64) + colour,
        "difficult": np.zeros(count, np.bool_),
        "crowd": np.zeros(count, np.bool_),
        "image_id": colour,
        "path": f"{colour}.png",
        "masks": masks,
    }
    return Sample(**{**fields, **more})


def four() -> list[Sample]:
    return [image_of(colour, [[4, 4, 12, 16]]) for colour in (20, 60, 100, 140)]


def bounds(mask: NDArray[np.uint8]) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("transform", SEVERAL, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("own", [0, 1])
@pytest.mark.parametrize("others", [0, 1])
def test_no_boxes_in_any_image_is_a_normal_case(transform: Transform, own: int, others: int) -> None:
    boxes = [[4.0, 4.0, 20.0, 16.0]]
    for seed in range(4):
        first, other = image_of(10, boxes[:own]), image_of(90, boxes[:others], 30, 30)
        found = transform(first, np.random.default_rng(seed), draw_from(other))
        assert len(found.boxes) <= own + 3 * others
        assert found.boxes.shape == (len(found.labels), 4)
        assert found.masks is not None
        assert found.masks.shape == (len(found.boxes), *found.image.shape[:2])
        assert [str(a.dtype) for a in (found.image, found.boxes, found.masks)] == ["uint8", "float32", "uint8"]


@pytest.mark.parametrize("transform", SEVERAL, ids=lambda t: type(t).__name__)
def test_the_given_samples_are_not_changed_and_the_generator_alone_decides(transform: Transform) -> None:
    given, kept = four(), four()
    first = transform(given[0], np.random.default_rng(5), draw_from(*given[1:]))
    again = transform(given[0], np.random.default_rng(5), draw_from(*given[1:]))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    for one, before in zip(given, kept, strict=True):
        for name in ("image", "boxes", "labels", "masks"):
            np.testing.assert_array_equal(getattr(one, name), getattr(before, name))


@pytest.mark.parametrize("transform", SEVERAL, ids=lambda t: type(t).__name__)
def test_flags_weights_and_proposals_stay_with_their_boxes(transform: Transform) -> None:
    # difficult, crowd and weight are functions of the label, so that a row that slips is seen
    def flagged(one: Sample) -> Sample:
        return dataclasses.replace(
            one,
            difficult=one.labels % 2 == 0,
            crowd=one.labels % 3 == 0,
            weight=(1 / (1 + one.labels)).astype(np.float32),
            proposals=one.boxes.copy(),
        )

    boxes: list[list[float]] = [[2, 2, 14, 16], [10, 4, 30, 18], [20, 1, 38, 9]]
    rows = 0
    for seed in range(10):
        samples = [flagged(image_of(colour, boxes)) for colour in (20, 60, 100, 140)]
        found = transform(samples[0], np.random.default_rng(seed), draw_from(*samples[1:]))
        np.testing.assert_array_equal(found.difficult, found.labels % 2 == 0)
        np.testing.assert_array_equal(found.crowd, found.labels % 3 == 0)
        assert found.weight is not None
        share = 0.5 if isinstance(transform, MixUp) and len(found.boxes) > 3 else 1.0
        np.testing.assert_allclose(found.weight, share / (1 + found.labels), rtol=1e-6)
        assert found.proposals is not None
        assert found.proposals.dtype == np.float32
        assert len(found.proposals) >= 3
        if not isinstance(transform, CopyPaste):  # whose covered boxes shrink, and image-level regions do not
            assert all(any(np.array_equal(box, other) for other in found.proposals) for box in found.boxes)
        rows += len(found.boxes)
    assert rows > 25


def test_a_mosaic_lays_four_images_around_a_point() -> None:
    # the canvas is 80 x 40 px and the point (40, 20): the images keep their size of 40 x 20 and touch no border
    found = Mosaic(None, size=(20, 40), centre=(1.0, 1.0), affine=None)(
        four()[0], np.random.default_rng(0), draw_from(*four()[1:])
    )
    assert found.image.shape == (40, 80, 3)
    assert found.boxes.tolist() == [[4, 4, 12, 16], [44, 4, 52, 16], [4, 24, 12, 36], [44, 24, 52, 36]]
    assert found.labels.tolist() == [20, 60, 100, 140]
    assert [int(found.image[y, x, 0]) for y in (1, 39) for x in (1, 79)] == [20, 60, 100, 140]
    assert found.masks is not None
    assert [bounds(mask) for mask in found.masks] == found.boxes.tolist()


def test_a_mosaic_cuts_images_at_the_border_of_the_canvas() -> None:
    # the point is (20, 10): of the first image its lower right quarter is left, of which the box keeps 0 px
    found = Mosaic(None, size=(20, 40), centre=(0.5, 0.5), affine=None)(
        image_of(20, [[4, 4, 12, 16], [16, 4, 30, 16]]), np.random.default_rng(0), draw_from(*four()[1:])
    )
    # shifted by (-20, -10): the first box ends at x = -8; the second is 0..10 by 0..6
    assert found.boxes.tolist() == [[0, 0, 10, 6], [24, 0, 32, 6], [24, 14, 32, 26]]
    assert found.labels.tolist() == [21, 60, 140]
    outside = found.image[30:, :]
    assert outside.min() == outside.max() == 114
    assert int(found.image[0, 0, 0]) == 31


def test_images_of_other_shapes_are_fitted_into_the_network_input() -> None:
    # 10 x 10 fits into 20 x 40 twice, 80 x 40 (width x height) half: both 20 px high
    small, large = image_of(20, [[2, 2, 5, 5]], 10, 10), image_of(60, [[40, 10, 60, 30]], 40, 80)
    found = Mosaic(None, size=(20, 40), centre=(1.0, 1.0), affine=None)(
        small, np.random.default_rng(0), draw_from(large)
    )
    # the small one is 20 px wide and ends at the point (40, 20): shifted by (20, 0)
    assert found.boxes[:2].tolist() == [[24, 4, 30, 10], [60, 5, 70, 15]]
    assert found.masks is not None
    assert bounds(found.masks[0]) == [24, 4, 30, 10]
    assert int(found.image[1, 19, 0]) == 114


def test_the_point_lies_in_its_range_on_both_axes() -> None:
    mosaic = Mosaic(None, size=(20, 40), centre=(0.5, 1.5), affine=None)
    points = []
    for seed in range(200):
        found = mosaic(image_of(20, []), np.random.default_rng(seed), draw_from(image_of(60, [])))
        columns = np.flatnonzero((found.image[:, :, 0] == 20).any(axis=0))
        rows = np.flatnonzero((found.image[:, :, 0] == 20).any(axis=1))
        points.append((columns.max() + 1, rows.max() + 1))
    x, y = np.array(points).T
    assert (x.min() >= 20, x.max() < 60, y.min() >= 10, y.max() < 30) == (True,) * 4
    assert (x.max() - x.min() > 34, y.max() - y.min() > 16) == (True, True)


def test_a_still_affine_shows_the_middle_of_the_canvas_or_its_corner() -> None:
    samples = four()
    middle = Mosaic(None, size=(20, 40), centre=(1.0, 1.0), affine=STILL)
    found = middle(samples[0], np.random.default_rng(0), draw_from(*samples[1:]))
    # the window (20, 10, 60, 30) of the canvas: boxes at x 4..12 are outside, those at 44..52 come to 24..32
    assert found.image.shape == (20, 40, 3)
    assert found.boxes.tolist() == [[24, 0, 32, 6], [24, 14, 32, 20]]
    assert found.labels.tolist() == [60, 140]
    corner = Mosaic(None, size=(20, 40), centre=(1.0, 1.0), affine=dataclasses.replace(STILL, about="corner"))
    found = corner(samples[0], np.random.default_rng(0), draw_from(*samples[1:]))
    assert found.boxes.tolist() == [[4, 4, 12, 16]]
    np.testing.assert_array_equal(found.image, samples[0].image)


def test_a_box_becomes_the_bounds_of_its_warped_corners() -> None:
    # an independent formula: complex numbers turn (screen y points down, so counter-clockwise is exp(-i a))
    settings = Affine(degrees=30, translate=0.2, scale=(0.5, 1.5), shear=0, keep=EVERYTHING)
    box = np.array([[10.0, 6, 30, 14]], np.float32)
    one = image_of(20, box.tolist())
    for seed in range(8):
        scale = 0.5 + seed / 8
        rng = np.random.default_rng(seed)
        angle = np.radians(rng.uniform(-30, 30))
        rng.uniform(0, 0, 2)
        shift = rng.uniform(-0.2, 0.2, 2)
        corners = np.array([10 + 6j, 30 + 6j, 30 + 14j, 10 + 14j]) - (20 + 10j)
        turned = scale * corners * np.exp(-1j * angle) + complex((0.5 + shift[0]) * 200, (0.5 + shift[1]) * 100)
        matrix = affine_matrix((20, 40), (100, 200), settings, scale, np.random.default_rng(seed))
        found = warp(one, matrix, (100, 200), (20, 20, 20))
        expected = [turned.real.min(), turned.imag.min(), turned.real.max(), turned.imag.max()]
        np.testing.assert_allclose(found.boxes[0], expected, atol=1e-3)
        assert found.masks is not None
        np.testing.assert_allclose(bounds(found.masks[0]), expected, atol=1.0)  # pixels whose middle is inside
        lighter = (found.image[:, :, 0] > 24).astype(np.uint8)
        np.testing.assert_allclose(bounds(lighter), expected, atol=1.5)


def test_boxes_that_shrink_too_much_are_left_out_and_crowds_stay() -> None:
    strict = BoxFilter(min_side=2.0, min_visible=0.5, max_aspect=4.0)
    #                 2 px high   half visible    a third     too long        good
    boxes = np.array([[0, 0, 9, 2], [0, 0, 4, 8], [0, 0, 4, 8], [0, 0, 20, 4], [0, 0, 3, 3]], np.float32)
    areas = np.array([18, 64, 96, 80, 9], np.float32)
    one = image_of(20, boxes.tolist())
    assert strict.rows(one, areas, boxes).tolist() == [False, True, False, False, True]
    crowds = dataclasses.replace(one, crowd=np.ones(5, np.bool_))
    assert strict.rows(crowds, areas, boxes).all()
    gone = boxes * np.array([1, 1, 0, 1], np.float32)
    assert not strict.rows(crowds, areas, gone).any()


def test_boxes_of_one_px_follow_the_mosaic() -> None:
    found = Mosaic(None, size=(20, 40), centre=(1.0, 1.0), affine=None)(
        image_of(20, [[4, 4, 5, 5]]), np.random.default_rng(0), draw_from(image_of(60, []))
    )
    assert found.boxes.tolist() == [[4, 4, 5, 5]]
    shrunk = Mosaic(None, size=(10, 20), centre=(1.0, 1.0), affine=None)(
        image_of(20, [[4, 4, 5, 5]]), np.random.default_rng(0), draw_from(image_of(60, []))
    )
    assert shrunk.boxes.tolist() == [[2, 2, 2.5, 2.5]]
    # the affine's filter asks for 2 px
    mosaic = Mosaic(None, size=(20, 40), centre=(1.0, 1.0), affine=dataclasses.replace(STILL, keep=BoxFilter()))
    found = mosaic(image_of(20, [[30, 15, 31, 16]]), np.random.default_rng(0), draw_from(image_of(60, [])))
    assert len(found.boxes) == 0


def test_a_transform_without_a_size_says_where_to_give_one() -> None:
    for kind in (Mosaic, MixUp):
        with pytest.raises(RecipeError, match=r"size: give \(height, width\) px"):
            kind(None)
    assert Mosaic((32, 64)).size == (32, 64)


def test_mixup_is_the_mean_of_both_images_with_the_boxes_of_both() -> None:
    still = MixUp(None, size=(20, 40), scale=(1.0, 1.0), flip=0.0)
    found = still(image_of(20, [[4, 4, 12, 16]]), np.random.default_rng(0), draw_from(image_of(101, [[20, 2, 34, 18]])))
    assert found.boxes.tolist() == [[4, 4, 12, 16], [20, 2, 34, 18]]
    assert found.labels.tolist() == [20, 101]
    assert found.weight is None
    assert int(found.image[0, 0, 0]) == 60  # 60.5, rounded to even
    assert int(found.image[5, 5, 0]) == 66  # (30 + 101) / 2 = 65.5
    assert int(found.image[5, 25, 0]) == 66  # (20 + 111) / 2 = 65.5
    assert found.masks is not None
    assert [bounds(mask) for mask in found.masks] == found.boxes.tolist()


def test_mixup_flips_and_resizes_the_other_image_on_its_canvas() -> None:
    # 20 x 20 in a canvas of 40 x 20, times 1/2: a canvas of 20 x 10; flipped, x goes to 20 - x
    other = image_of(100, [[2, 4, 18, 18]], 20, 20)
    shrunk = MixUp(None, size=(20, 40), scale=(0.5, 0.5), flip=1.0, keep=EVERYTHING)
    found = shrunk(image_of(20, [[0, 0, 8, 8]]), np.random.default_rng(0), draw_from(other))
    assert found.boxes[1].tolist() == [20 - 9, 2, 20 - 1, 9]
    assert int(found.image[15, 39, 0]) == 10  # black beyond the canvas: (20 + 0) / 2
    assert int(found.image[9, 9, 0]) == 67  # beside the other image, at x 0..10 after the flip: (20 + 114) / 2


def test_mixup_cuts_a_larger_image_at_random() -> None:
    # twice as large, 80 x 40: the part of 40 x 20 begins at 0..40, 0..20
    other = image_of(100, [[0, 0, 40, 20]])
    grown = MixUp(None, size=(20, 40), scale=(2.0, 2.0), flip=0.0, keep=BoxFilter(min_visible=0.0, min_side=1.0))
    small = MixUp(None, size=(20, 40), scale=(2.0, 2.0), flip=0.0, keep=BoxFilter(min_visible=0.3, min_side=1.0))
    first = image_of(20, [[4, 4, 12, 16]])
    for seed in range(20):
        found = grown(first, np.random.default_rng(seed), draw_from(other))
        assert found.boxes[1].tolist() == [0, 0, 40, 20]
        # a quarter of the box of 80 x 40 is seen: less than 0.3
        assert small(first, np.random.default_rng(seed), draw_from(other)) is first
    corner = image_of(100, [[0, 0, 20, 10]])
    seen = {tuple(grown(first, np.random.default_rng(seed), draw_from(corner)).boxes[-1]) for seed in range(60)}
    assert len(seen) > 20
    assert all(box[0] == box[1] == 0 for box in seen if box != (4, 4, 12, 16))


def test_mixup_leaves_images_alone_where_one_shows_nothing() -> None:
    mixup = MixUp(None, size=(20, 40))
    empty, full = image_of(20, []), image_of(60, [[4, 4, 30, 16]])
    assert mixup(empty, np.random.default_rng(0), draw_from(full)) is empty
    assert mixup(full, np.random.default_rng(0), draw_from(empty)) is full
    assert MixUp(None, size=(20, 40), p=0.0)(full, np.random.default_rng(0), draw_from()) is full


def test_boxes_weigh_the_share_of_their_image() -> None:
    mixup = MixUp(None, size=(20, 40), scale=(1.0, 1.0), flip=0.0, beta=1.5, weighted=True)
    first, other = image_of(0, [[4, 4, 12, 16]]), image_of(200, [[20, 2, 34, 18]])
    shares = []
    for seed in range(400):
        found = mixup(first, np.random.default_rng(seed), draw_from(other))
        assert found.weight is not None
        assert found.weight.sum() == pytest.approx(1.0)
        # the corner shows 0 of the first and 200 of the other image
        assert int(found.image[0, 0, 0]) == pytest.approx(200 * float(found.weight[1]), abs=0.6)
        shares.append(float(found.weight[0]))
    # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1)) = 1/16
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / 16, abs=0.01)


def test_the_transforms_say_whether_the_other_image_is_taken_as_it_lies_in_the_dataset() -> None:
    asked: list[bool] = []

    def draw(*, plain: bool = False) -> Sample:
        asked.append(plain)
        return image_of(60, [[4, 4, 30, 16]])

    first = image_of(20, [[4, 4, 30, 16]])
    for transform in (Mosaic((20, 40)), MixUp((20, 40)), CopyPaste(), MixUp((20, 40), plain=False)):
        transform(first, np.random.default_rng(0), draw)
    assert asked == [False, False, False, True, False, False]


def test_copy_paste_takes_covered_parts_out_of_masks_and_boxes() -> None:
    # the pasted object covers the right half of the first, all of the second, nothing of the third
    first = image_of(20, [[2, 2, 12, 12], [8, 4, 14, 10], [30, 2, 38, 8]])
    other = image_of(100, [[7, 0, 20, 20]])
    found = CopyPaste(blend=False)(first, np.random.default_rng(0), draw_from(other))
    assert found.boxes.tolist() == [[2, 2, 7, 12], [30, 2, 38, 8], [7, 0, 20, 20]]
    assert found.labels.tolist() == [20, 22, 100]
    assert found.masks is not None
    assert found.masks.sum((1, 2)).tolist() == [50, 48, 260]
    np.testing.assert_array_equal(found.image[:, 7:20], other.image[:, 7:20])
    np.testing.assert_array_equal(found.image[:, 20:], first.image[:, 20:])


def test_small_leftovers_of_covered_objects_are_removed() -> None:
    # 10 x 2 px are left of the first, 1 px wide; of the second, which is 1 px wide itself and not covered, everything
    first = image_of(20, [[2, 2, 12, 12], [30, 2, 31, 12]])
    for left, kept in ((3.0, [21]), (4.0, [20, 21])):
        other = image_of(100, [[left, 0, 20, 20]])
        found = CopyPaste(blend=False)(first, np.random.default_rng(0), draw_from(other))
        assert found.labels.tolist() == [*kept, 100]
    strict = CopyPaste(blend=False, min_pixels=21)
    found = strict(first, np.random.default_rng(0), draw_from(image_of(100, [[4, 0, 20, 20]])))
    assert found.labels.tolist() == [21, 100]


def test_copy_paste_stretches_the_other_image_to_the_first_one() -> None:
    found = CopyPaste(blend=False)(
        image_of(20, []), np.random.default_rng(0), draw_from(image_of(100, [[2, 2, 8, 8]], 10, 10))
    )
    assert found.boxes.tolist() == [[8, 4, 32, 16]]
    assert found.masks is not None
    assert bounds(found.masks[0]) == [8, 4, 32, 16]


def test_a_random_part_of_the_objects_is_pasted() -> None:
    other = image_of(100, [[4.0 * row, 2, 4.0 * row + 3, 18] for row in range(10)])
    counts = [len(CopyPaste()(image_of(20, []), np.random.default_rng(s), draw_from(other)).boxes) for s in range(200)]
    # of 10 draws with replacement, 10 (1 - 0.9^10) = 6.51 different ones are expected
    assert np.mean(counts) == pytest.approx(6.51, abs=0.25)


def test_blending_softens_edges_and_nothing_else() -> None:
    first, other = image_of(20, []), image_of(100, [[10, 4, 30, 16]])
    hard, soft = (CopyPaste(blend=blend)(first, np.random.default_rng(0), draw_from(other)) for blend in (False, True))
    changed = np.abs(hard.image.astype(int) - soft.image).max(axis=2)
    assert changed[8:12, 14:26].max() == 0  # 4 px from the edges
    assert changed[:1].max() == 0
    assert 20 < soft.image[10, 10, 0] < 110
    np.testing.assert_array_equal(hard.boxes, soft.boxes)


def test_objects_without_a_mask_are_not_pasted_and_stay() -> None:
    first, other = image_of(20, [[2, 2, 12, 12]]), image_of(100, [[0, 0, 20, 20]])
    bare = dataclasses.replace(first, masks=np.zeros_like(first.masks))
    found = CopyPaste(blend=False)(bare, np.random.default_rng(0), draw_from(other))
    assert found.labels.tolist() == [20, 100]
    nothing = dataclasses.replace(other, masks=np.zeros_like(other.masks))
    assert CopyPaste()(first, np.random.default_rng(0), draw_from(nothing)) is first
    with pytest.raises(DataError, match="this data has none"):
        CopyPaste()(dataclasses.replace(first, masks=None), np.random.default_rng(0), draw_from(other))
