"""Priors of every published set, each with numbers that a reader can check."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec
from detzoo_ssd.priors import SsdPriors

RATIOS_300 = [[2.0], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0], [2.0], [2.0]]
RATIOS_512 = [[2.0], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0], [2.0], [2.0]]
GRID_300 = (38, 19, 10, 5, 3, 1)
VOC_300: dict[str, Any] = {
    "sizes": [[30.0], [60.0], [111.0], [162.0], [213.0], [264.0]],
    "max_sizes": [60.0, 111.0, 162.0, 213.0, 264.0, 315.0],
    "ratios": RATIOS_300,
    "steps": [8.0, 16.0, 32.0, 64.0, 100.0, 300.0],
}
COCO_300 = VOC_300 | {
    "sizes": [[21.0], [45.0], [99.0], [153.0], [207.0], [261.0]],
    "max_sizes": [45.0, 99.0, 153.0, 207.0, 261.0, 315.0],
}
VOC_512: dict[str, Any] = {
    "sizes": [[35.84], [76.8], [153.6], [230.4], [307.2], [384.0], [460.8]],
    "max_sizes": [76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6],
    "ratios": RATIOS_512,
    "steps": [8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0],
}
TUTORIAL: dict[str, Any] = {
    "sizes": [[0.1], [0.2], [0.375], [0.55], [0.725], [0.9]],
    "max_sizes": [0.2, 0.375, 0.55, 0.725, 0.9, None],
    "last_extra": 1.0,
    "ratios": [[2.0, 0.5], *[[2.0, 3.0, 0.5, 0.333]] * 3, [2.0, 0.5], [2.0, 0.5]],
    "flip": False,
    "unit": "fraction",
    "clip": "centre_size",
}
FACE: dict[str, Any] = {
    "sizes": [[10.0, 16.0, 24.0], [32.0, 48.0], [64.0, 96.0], [128.0, 192.0, 256.0]],
    "max_sizes": None,
    "ratios": [[], [], [], []],
    "clip": "centre_size",
}


def priors(config: dict[str, Any], grid: tuple[Any, ...], size: tuple[int, int]) -> tuple[Tensor, SsdPriors]:
    """float32 [N,4] xyxy px on maps of these sizes."""
    shapes = [g if isinstance(g, tuple) else (g, g) for g in grid]
    names = [f"m{i}" for i in range(len(shapes))]
    made = SsdPriors({name: FeatureSpec(8, 8.0) for name in names}, **config)
    maps = {name: torch.zeros(1, 1, *shape) for name, shape in zip(names, shapes, strict=True)}
    boxes, levels = made(maps, size)
    assert sum(level.count for level in levels) == len(boxes)
    return boxes, made


def centre_size(boxes: Tensor) -> Tensor:
    return torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1)


def test_counts_of_ssd300_and_ssd512() -> None:
    assert len(priors(VOC_300, GRID_300, (300, 300))[0]) == 8732  # 38²·4 + 19²·6 + 10²·6 + 5²·6 + 3²·4 + 1·4
    assert len(priors(VOC_512, (64, 32, 16, 8, 4, 2, 1), (512, 512))[0]) == 24564
    assert len(priors(VOC_300, (37, 18, 9, 5, 3, 1), (300, 300))[0]) == 37 * 37 * 4 + (18 * 18 + 81 + 25) * 6 + 40
    assert priors(VOC_300, GRID_300, (300, 300))[1].per_cell() == (4, 6, 6, 6, 4, 4)


def test_order_is_square_extra_then_each_ratio_and_its_transpose() -> None:
    boxes, _ = priors(VOC_300, GRID_300, (300, 300))
    second = centre_size(boxes[38 * 38 * 4 : 38 * 38 * 4 + 6])
    sides = [(60, 60), (sqrt(60 * 111), sqrt(60 * 111))]
    for ratio in (2, 3):
        sides += [(60 * sqrt(ratio), 60 / sqrt(ratio)), (60 / sqrt(ratio), 60 * sqrt(ratio))]
    torch.testing.assert_close(second[:, :2], torch.full((6, 2), 8.0))  # (0 + .5) · 16
    torch.testing.assert_close(second[:, 2:], torch.tensor(sides))


@pytest.mark.parametrize(
    ("config", "first", "last"), [(VOC_300, 30.0, 264.0), (COCO_300, 21.0, 261.0)], ids=["voc", "coco"]
)
def test_scales_of_voc_and_coco(config: dict[str, Any], first: float, last: float) -> None:
    sides = centre_size(priors(config, GRID_300, (300, 300))[0])[:, 2:]
    assert sides[0].tolist() == [first, first]  # 10 % and 7 % of 300 px
    assert sides[-4].tolist() == [last, last]  # .88 and .87
    torch.testing.assert_close(sides[-3], torch.full((2,), sqrt(last * 315)))  # 1.05 · 300


def test_centres_by_step_or_by_map() -> None:
    by_step, _ = priors(VOC_300, GRID_300, (300, 300))
    by_map, _ = priors(VOC_300 | {"steps": None}, GRID_300, (300, 300))
    start = 38 * 38 * 4 + 19 * 19 * 6
    last_of_map_10 = start + 99 * 6
    assert centre_size(by_step)[last_of_map_10, 0] == 304  # 9.5 · 32 = 1.0133 · 300: outside the image
    assert centre_size(by_map)[last_of_map_10, 0] == pytest.approx(0.95 * 300)
    assert centre_size(by_step)[0, 0] == 4
    assert centre_size(by_map)[0, 0] == pytest.approx(0.5 / 38 * 300)
    torch.testing.assert_close(by_step[-40:], by_map[-40:])  # equal on maps 3 and 1


def test_clip() -> None:
    made = {clip: priors(VOC_300 | {"clip": clip}, GRID_300, (300, 300))[0] for clip in CLIPS}
    assert made["none"].min() == pytest.approx(32 - 162 * sqrt(3) / 2)  # Caffe's default: boxes leave the image
    wide = -2  # 264 · √2 = 373 px wide, 187 px high, at (150, 150)
    high = 264 / sqrt(2)
    assert made["none"][wide].tolist() == pytest.approx(
        [150 - 264 * sqrt(0.5), 150 - high / 2, 150 + 264 * sqrt(0.5), 150 + high / 2]
    )
    assert made["size"][wide].tolist() == pytest.approx([0, 150 - high / 2, 300, 150 + high / 2])
    assert made["centre_size"][wide].tolist() == pytest.approx([0, 150 - high / 2, 300, 150 + high / 2])
    outside = 38 * 38 * 4 + 19 * 19 * 6 + 99 * 6  # centre at 304, side 111
    assert centre_size(made["size"])[outside].tolist() == pytest.approx([304, 304, 111, 111])
    assert centre_size(made["centre_size"])[outside].tolist() == pytest.approx([300, 300, 111, 111])
    assert made["corners"][outside].tolist() == pytest.approx([304 - 55.5, 304 - 55.5, 300, 300])
    assert made["corners"].min() == 0
    assert made["corners"].max() == 300


CLIPS = ("none", "size", "centre_size", "corners")


def test_integer_cut_of_ssd512() -> None:
    grid = (64, 32, 16, 8, 4, 2, 1)
    plain = centre_size(priors(VOC_512, grid, (512, 512))[0])
    cut = centre_size(priors(VOC_512 | {"integer_cut": True}, grid, (512, 512))[0])
    assert cut[0, 2:].tolist() == [35, 35]  # int(35.84)
    assert cut[1, 2].item() == pytest.approx(sqrt(35 * 76))  # int(76.8)
    torch.testing.assert_close(plain[:, :2], cut[:, :2])
    assert ((plain - cut).abs().max() / 512).item() == pytest.approx(0.8 * sqrt(3) / 512, abs=1e-5)  # .0027


def test_priors_of_the_tutorial() -> None:
    boxes, _ = priors(TUTORIAL, GRID_300, (300, 300))
    assert len(boxes) == 8732
    # The tutorial's own loop, written anew: cx, cy, w, h in fractions, clamped to [0, 1].
    expected = []
    scales = [0.1, 0.2, 0.375, 0.55, 0.725, 0.9]
    for k, cells in enumerate(GRID_300):
        ratios = [2.0, 0.5] if k in (0, 4, 5) else [2.0, 3.0, 0.5, 0.333]
        extra = sqrt(scales[k] * scales[k + 1]) if k < 5 else 1.0
        for row in range(cells):
            for column in range(cells):
                centre = [(column + 0.5) / cells, (row + 0.5) / cells]
                expected += [[*centre, scales[k], scales[k]], [*centre, extra, extra]]
                expected += [[*centre, scales[k] * sqrt(r), scales[k] / sqrt(r)] for r in ratios]
    torch.testing.assert_close(centre_size(boxes) / 300, torch.tensor(expected).clamp(0, 1), atol=1e-6, rtol=0)


def test_ultralight_face() -> None:
    boxes, made = priors(FACE, ((30, 40), (15, 20), (8, 10), (4, 5)), (240, 320))
    assert len(boxes) == 4420  # 1200·3 + 300·2 + 80·2 + 20·3
    assert made.per_cell() == (3, 2, 2, 3)
    assert boxes[0].tolist() == [-1, -1, 9, 9]  # side 10 around (4, 4)
    assert boxes[-1].tolist() == pytest.approx([288 - 128, 210 - 120, 288 + 128, 210 + 120])  # 256 cut to 240 high


def test_fraction_follows_the_shape_of_the_input_and_px_does_not() -> None:
    one: dict[str, Any] = {"max_sizes": None, "ratios": [[]]}
    fraction, _ = priors(one | {"sizes": [[0.5]], "unit": "fraction"}, ((1, 2),), (100, 200))
    assert fraction.tolist() == [[0, 25, 100, 75], [100, 25, 200, 75]]
    px, _ = priors(one | {"sizes": [[50.0]]}, ((1, 2),), (100, 200))
    assert px.tolist() == [[25, 25, 75, 75], [125, 25, 175, 75]]


def test_level_without_extra_square() -> None:
    config: dict[str, Any] = {"sizes": [[60.0], [105.0]], "max_sizes": [None, 150.0], "ratios": [[2.0], [2.0, 3.0]]}
    _, made = priors(config, (2, 1), (300, 300))
    assert made.per_cell() == (3, 6)


def test_empty_map_gives_no_priors() -> None:
    config: dict[str, Any] = {"sizes": [[60.0]], "max_sizes": None, "ratios": [[2.0]]}
    boxes, _ = priors(config, ((0, 3),), (10, 10))
    assert boxes.shape == (0, 4)


def test_made_once_for_each_size() -> None:
    made = SsdPriors({"s8": FeatureSpec(1, 8.0)}, sizes=[[8.0]], max_sizes=None, ratios=[[]])
    small, large = {"s8": torch.zeros(1, 1, 2, 2)}, {"s8": torch.zeros(1, 1, 3, 3)}
    first = made(small, (16, 16))[0]
    assert made(large, (24, 24))[0].shape == (9, 4)
    assert made(small, (16, 16))[0] is first


def test_wrong_lists_are_refused() -> None:
    specs = {"s8": FeatureSpec(1, 8.0), "s16": FeatureSpec(1, 16.0)}
    with pytest.raises(RecipeError) as error:
        SsdPriors(specs, sizes=[[8.0]], max_sizes=None, ratios=[[], []])
    assert str(error.value) == ("sizes has 1 entries, but the head gets 2 maps: s8, s16. Give one entry for each map.")
    with pytest.raises(RecipeError) as error:
        SsdPriors(specs, sizes=[[8.0], []], max_sizes=None, ratios=[[], []])
    assert str(error.value) == "sizes[1] is empty: map s16 would have no prior."
    with pytest.raises(RecipeError) as error:
        SsdPriors(specs, sizes=[[8.0], [9.0, 10.0]], max_sizes=[9.0, 11.0], ratios=[[], []])
    assert str(error.value) == "max_sizes[1] pairs with one size, but sizes[1] has 2."
    with pytest.raises(RecipeError) as error:
        SsdPriors(specs, sizes=[[0.1], [0.2]], max_sizes=None, ratios=[[], []], unit="fraction", integer_cut=True)
    assert str(error.value) == ("integer_cut: true needs unit: px; fractions of the image would all become 0.")
    with pytest.raises(RecipeError) as error:
        SsdPriors(specs, sizes=[[8.0], [9.0]], max_sizes=[9.0, 11.0], ratios=[[], []], last_extra=16.0)
    assert str(error.value) == ("last_extra replaces the last of max_sizes; make that one null, or drop last_extra.")
    with pytest.raises(RecipeError) as error:
        priors({"sizes": [[1.0]], "max_sizes": None, "ratios": [[]]}, ((3000, 3000),), (9000, 9000))
    assert str(error.value) == "9,000,000 priors on an input of 9000x9000; 4,000,000 at most."


def test_tensorflows_first_square_and_extra_square() -> None:
    config = {
        "sizes": [[0.2], [0.4]], "max_sizes": [None, 0.9], "ratios": [[4.0, 0.25], [4.0]], "flip": False,
        "unit": "fraction", "first_square": 0.1, "extra_at": "last",
    }  # fmt: skip
    boxes, made = priors(config, (1, 1), (100, 100))
    assert made.per_cell() == (3, 3)
    # 0.1; then 0.2 · 2 and 0.2 / 2, either way round
    first = [[45.0, 45, 55, 55], [30, 45, 70, 55], [45, 30, 55, 70]]
    # 0.4; 0.8 x 0.2; √(0.4 · 0.9) = 0.6
    second = [[30.0, 30, 70, 70], [10, 40, 90, 60], [20, 20, 80, 80]]
    torch.testing.assert_close(boxes, torch.tensor(first + second))
