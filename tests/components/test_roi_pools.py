"""RoI pooling: plain loops, closed forms, torchvision's multi-scale pooler, and the two ways against each other."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from detzoo.components import roi_pools
from detzoo.components.roi_pools import LevelledPool, PsRoiAlign, PsRoiPool, RoiAlign, RoiMaxPool
from detzoo.errors import RecipeError
from detzoo.ops import roi_pool as module
from detzoo.types import Candidates, FeatureMaps, FeatureSpec, FeatureSpecs

SPECS = {f"s{stride}": FeatureSpec(8, stride) for stride in (4, 8, 16)}
SIZE = 96
MAKERS: dict[str, Callable[..., LevelledPool]] = {
    "roi_pool": RoiMaxPool,
    "roi_align adaptive": RoiAlign,
    "roi_align": lambda *a, **k: RoiAlign(*a, sampling_ratio=2, **k),
    "roi_align max": lambda *a, **k: RoiAlign(*a, sampling_ratio=2, reduce="max", aligned=False, **k),
    "ps_roi_pool after": PsRoiPool,
    "ps_roi_pool before": lambda *a, **k: PsRoiPool(*a, rounding="before", **k),
    "ps_roi_align": PsRoiAlign,
}
every_kind = pytest.mark.parametrize("make", list(MAKERS.values()), ids=list(MAKERS))


def maps_of(
    specs: FeatureSpecs, images: int = 2, *, dtype: torch.dtype = torch.float32, size: int = SIZE
) -> FeatureMaps:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(
            images, spec.channels, int(size / spec.stride), int(size / spec.stride), generator=generator, dtype=dtype
        ).requires_grad_()
        for name, spec in specs.items()
    }


def regions_of(images: int = 2, count: int = 12) -> Candidates:
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(images, count, 2, generator=generator) * SIZE * 0.8
    opposite = corner + torch.rand(images, count, 2, generator=generator) ** 2 * SIZE
    boxes = torch.cat([corner, opposite], dim=-1).clamp(max=SIZE)
    valid = torch.ones(images, count, dtype=torch.bool)
    valid[0, -2:] = False
    return Candidates(boxes, valid)


def one(box: list[float]) -> Candidates:
    return Candidates(torch.tensor([[box]]), torch.ones(1, 1, dtype=torch.bool))


def leave_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (module, roi_pools):
        monkeypatch.setattr(place, "allows_dynamic_shapes", lambda _: False)


def gradients(pooled: Tensor, features: FeatureMaps) -> list[Tensor]:
    weight = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(3))
    return list(torch.autograd.grad((pooled * weight).sum(), list(features.values())))


@every_kind
@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("levels", [None, ("s8",)])
def test_no_regions_stay_connected_to_every_map(
    make: Any, looks: bool, levels: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not looks:
        leave_looking(monkeypatch)
    pool = make(SPECS, output=(2, 2), levels=levels)
    features = {name: values for name, values in maps_of(SPECS).items() if name in pool.levels}
    pooled = pool(features, Candidates(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool)))
    assert pooled.shape == (0, pool.channels, 2, 2)
    for gradient in torch.autograd.grad(pooled.sum(), list(features.values())):
        assert gradient.count_nonzero() == 0


@every_kind
def test_all_regions_on_one_of_several_levels_leave_zeros_on_the_others(make: Any) -> None:
    features = maps_of(SPECS)
    pooled = make(SPECS, output=(2, 2))(
        features, Candidates(torch.tensor([[[8.0, 8, 40, 40]]]), torch.tensor([[True]]))
    )
    fine, *others = torch.autograd.grad(pooled.sum(), list(features.values()))
    assert fine.count_nonzero() > 0
    assert all(gradient.count_nonzero() == 0 for gradient in others)


@every_kind
def test_the_way_with_static_shapes_gives_the_same(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(SPECS, output=(2, 2), canonical_size=24.0, canonical_level=3)
    features, rois = maps_of(SPECS), regions_of()
    looked = pool(features, rois)
    expected = gradients(looked, features)
    leave_looking(monkeypatch)
    pooled = pool(features, rois)
    torch.testing.assert_close(pooled, looked, rtol=0, atol=1e-6)
    for ours, theirs in zip(gradients(pooled, features), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@every_kind
@pytest.mark.parametrize("looks", [True, False])
def test_invalid_regions_give_zeros_whatever_stands_in_them(
    make: Any, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not looks:
        leave_looking(monkeypatch)
    pool = make(SPECS, output=(2, 2), canonical_size=24.0, canonical_level=3)
    features, rois = maps_of(SPECS), regions_of()
    boxes = rois.boxes.clone()
    boxes[0, -2] = math.nan
    boxes[0, -1] = 0
    pooled = pool(features, Candidates(boxes, rois.valid))
    assert pooled.reshape(2, 12, -1)[0, -2:].count_nonzero() == 0
    assert torch.equal(pooled, pool(features, rois))
    assert all(gradient.isfinite().all() for gradient in gradients(pooled, features))


@every_kind
def test_regions_that_are_not_finite_give_zeros(make: Any) -> None:
    features, rois = maps_of(SPECS), regions_of()
    boxes = rois.boxes.clone()
    boxes[1, 0, 2], boxes[1, 1, 0] = math.inf, math.nan
    pooled = make(SPECS, output=(2, 2))(features, Candidates(boxes, rois.valid)).reshape(2, 12, -1)
    assert pooled[1, :2].count_nonzero() == 0
    assert pooled.isfinite().all()


@every_kind
def test_regions_of_no_extent_and_of_one_pixel_are_finite(make: Any) -> None:
    boxes = torch.tensor([[[5.0, 5, 5, 5], [7.3, 9.1, 8.3, 10.1], [0, 0, 0, 0], [96, 96, 96, 96], [0, 0, 96, 96]]])
    pooled = make(SPECS, output=(2, 2))(maps_of(SPECS, 1), Candidates(boxes, torch.ones(1, 5, dtype=torch.bool)))
    assert pooled.isfinite().all()


@every_kind
def test_an_image_pools_the_same_alone_and_in_a_batch(make: Any) -> None:
    pool = make(SPECS, output=(2, 2), canonical_size=24.0, canonical_level=3)
    features, rois = maps_of(SPECS), regions_of()
    together = pool(features, rois).view(2, 12, -1, 2, 2)
    for image in range(2):
        alone = pool(
            {name: values[image : image + 1] for name, values in features.items()},
            Candidates(rois.boxes[image : image + 1], rois.valid[image : image + 1]),
        )
        torch.testing.assert_close(alone, together[image], rtol=0, atol=1e-6)


@every_kind
@pytest.mark.parametrize("looks", [True, False])
def test_gradients_in_float64(make: Any, looks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not looks:
        leave_looking(monkeypatch)
    specs = {"s8": FeatureSpec(4, 8), "s16": FeatureSpec(4, 16)}
    pool = make(specs, output=(2, 2), canonical_size=20.0)
    features = maps_of(specs, dtype=torch.float64, size=32)
    rois = Candidates(regions_of(count=4).boxes / 3, torch.ones(2, 4, dtype=torch.bool))
    assert pool(features, rois).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda a, b: pool({"s8": a, "s16": b}, rois), list(features.values()))


@every_kind
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_maps_are_pooled_in_float32_at_float32_boxes(make: Any, dtype: torch.dtype) -> None:
    pool = make(SPECS, output=(2, 2), canonical_size=24.0, canonical_level=3)
    narrow = {name: values.to(dtype) for name, values in maps_of(SPECS).items()}
    wide = pool({name: values.float() for name, values in narrow.items()}, regions_of())
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool(narrow, regions_of())
    assert pooled.dtype == dtype
    assert torch.equal(pooled, wide.to(dtype))


@every_kind
def test_regions_get_no_gradient(make: Any) -> None:
    rois = regions_of()
    boxes = rois.boxes.clone().requires_grad_()
    make(SPECS, output=(2, 2))(maps_of(SPECS), Candidates(boxes, rois.valid)).sum().backward()
    assert boxes.grad is None


@every_kind
def test_boxes_shared_by_the_images_are_pooled_from_each(make: Any) -> None:
    pool, features = make(SPECS, output=(2, 2)), maps_of(SPECS)
    boxes, valid = torch.tensor([[[8.0, 8, 40, 40]]]), torch.tensor([[True]])
    shared = pool(features, Candidates(boxes, valid))
    assert torch.equal(shared, pool(features, Candidates(boxes.repeat(2, 1, 1), valid.repeat(2, 1))))


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("output", [1, 7])
def test_equals_torchvisions_multi_scale_pooler(looks: bool, output: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # torchvision's detectors: not aligned, two samples
    if not looks:
        leave_looking(monkeypatch)
    pool = RoiAlign(SPECS, output=(output, output), sampling_ratio=2, aligned=False, canonical_size=56.0)
    features = maps_of(SPECS)
    rois = Candidates(regions_of().boxes, torch.ones(2, 12, dtype=torch.bool))
    theirs = MultiScaleRoIAlign(list(SPECS), output, 2, canonical_scale=56)
    expected = theirs(features, list(rois.boxes), [(SIZE, SIZE)] * 2)
    pooled = pool(features, rois)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-6)
    for ours, their in zip(gradients(pooled, features), gradients(expected, features), strict=True):
        torch.testing.assert_close(ours, their, rtol=0, atol=1e-5)


def ramp(rows: int, columns: int) -> Tensor:
    """3 y + 5 x + 7 at each cell, [1,1,rows,columns]."""
    y, x = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    return (3 * y + 5 * x + 7).view(1, 1, rows, columns)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_of_a_ramp_is_the_ramp_at_the_bins_middle(aligned: bool, sampling_ratio: int) -> None:
    # box (8, 16) to (40, 64) px at stride 4: cells x 2 to 10, y 4 to 16; 2x4 bins are 6 cells high and 2 wide.
    # aligned: px coordinate p is cell p / 4 - 0.5
    shift = 0.5 if aligned else 0.0
    pool = RoiAlign({"s4": FeatureSpec(1, 4)}, output=(2, 4), sampling_ratio=sampling_ratio, aligned=aligned)
    pooled = pool({"s4": ramp(24, 24)}, one([8, 16, 40, 64]))
    expected = [[3 * (y - shift) + 5 * (x - shift) + 7 for x in (3, 5, 7, 9)] for y in (7, 13)]
    torch.testing.assert_close(pooled, torch.tensor([[expected]]))


def test_roi_align_max_of_a_ramp_is_the_ramp_at_the_last_sample() -> None:
    # the same bins, two samples a side: they stand 1/4 and 3/4 into the bin, the largest at 3/4
    pool = RoiAlign({"s4": FeatureSpec(1, 4)}, output=(2, 4), sampling_ratio=2, aligned=False, reduce="max")
    pooled = pool({"s4": ramp(24, 24)}, one([8, 16, 40, 64]))
    expected = [[3 * y + 5 * x + 7 for x in (3.5, 5.5, 7.5, 9.5)] for y in (8.5, 14.5)]
    torch.testing.assert_close(pooled, torch.tensor([[expected]]))


def test_a_region_below_one_cell_counts_as_one_unless_aligned() -> None:
    # box (8, 8) to (8, 8) at stride 4 is the point (2, 2): unaligned, a bin ends at (3, 3), its middle is (2.5, 2.5)
    values = {"s4": ramp(8, 8)}
    legacy = RoiAlign({"s4": FeatureSpec(1, 4)}, output=(1, 1), sampling_ratio=2, aligned=False)
    shifted = RoiAlign({"s4": FeatureSpec(1, 4)}, output=(1, 1), sampling_ratio=2, aligned=True)
    assert legacy(values, one([8, 8, 8, 8])).item() == pytest.approx(8 * 2.5 + 7)
    assert shifted(values, one([8, 8, 8, 8])).item() == pytest.approx(8 * 1.5 + 7)


def c_round(value: float) -> int:
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def roi_pool_loop(values: Tensor, box: list[float], scale: float, rows: int, columns: int) -> Tensor:
    """Fast R-CNN's roi_pooling_layer, written out, for one image [C,h,w]."""
    height, width = values.shape[1:]
    x1, y1, x2, y2 = (c_round(side * scale) for side in box)
    down, across = max(y2 - y1 + 1, 1) / rows, max(x2 - x1 + 1, 1) / columns
    out = torch.zeros(values.shape[0], rows, columns)
    for i in range(rows):
        for j in range(columns):
            top, bottom = (min(max(y1 + f, 0), height) for f in (math.floor(i * down), math.ceil((i + 1) * down)))
            left, right = (min(max(x1 + f, 0), width) for f in (math.floor(j * across), math.ceil((j + 1) * across)))
            if bottom > top and right > left:
                out[:, i, j] = values[:, top:bottom, left:right].amax((1, 2))
    return out


def test_roi_pool_rounds_to_cells_with_plus_one() -> None:
    specs = {"s8": FeatureSpec(3, 8)}
    features, rois = maps_of(specs), regions_of()
    pooled = RoiMaxPool(specs, output=(3, 4))(features, rois).view(2, 12, 3, 3, 4)
    for image in range(2):
        for number in range(10):
            loop = roi_pool_loop(features["s8"][image], rois.boxes[image, number].tolist(), 1 / 8, 3, 4)
            assert torch.equal(pooled[image, number], loop)


def test_roi_pool_by_hand() -> None:
    # px 7 to 21 at stride 8: cells round(0.875) = 1 to round(2.625) = 3, both included; bins of 1.5 cells share cell 2
    values = torch.arange(25.0).view(1, 1, 5, 5)
    pooled = RoiMaxPool({"s8": FeatureSpec(1, 8)}, output=(2, 2))({"s8": values}, one([7, 7, 21, 21]))
    assert pooled.tolist() == [[[[12, 13], [17, 18]]]]


def ps_pool_after_loop(values: Tensor, box: list[float], scale: float, side: int) -> Tensor:
    """torchvision's ps_roi_pool, written out, for one image [c*side*side,h,w]; but with its last row and column."""
    height, width = values.shape[1:]
    x1, y1, x2, y2 = (c_round(edge * scale) for edge in box)
    down, across = max(y2 - y1, 1) / side, max(x2 - x1, 1) / side
    out = torch.zeros(values.shape[0] // side**2, side, side)
    for c in range(out.shape[0]):
        for i in range(side):
            for j in range(side):
                top, bottom = (min(max(f + y1, 0), height) for f in (math.floor(i * down), math.ceil((i + 1) * down)))
                left, right = (
                    min(max(f + x1, 0), width) for f in (math.floor(j * across), math.ceil((j + 1) * across))
                )
                if bottom > top and right > left:
                    out[c, i, j] = values[(c * side + i) * side + j, top:bottom, left:right].mean()
    return out


def test_ps_roi_pool_after_rounds_when_scaled_without_plus_one() -> None:
    specs = {"s8": FeatureSpec(18, 8)}
    features, rois = maps_of(specs), regions_of()
    pooled = PsRoiPool(specs, output=(3, 3))(features, rois).view(2, 12, 2, 3, 3)
    for image in range(2):
        for number in range(10):
            loop = ps_pool_after_loop(features["s8"][image], rois.boxes[image, number].tolist(), 1 / 8, 3)
            torch.testing.assert_close(pooled[image, number], loop, rtol=0, atol=1e-6)


def test_the_two_roundings_by_hand() -> None:
    # px 4 to 11 at stride 8, one bin. after: cells round(0.5) = 1 to round(1.375) = 1, at least one cell: cell 1.
    # before: 4 / 8 = 0.5 to (11 + 1) / 8 = 1.5, floor to ceil: cells 0 and 1
    values = torch.tensor([[[[1.0, 2, 4], [8, 16, 32], [64, 128, 256]]]])
    specs = {"s8": FeatureSpec(1, 8)}
    after = PsRoiPool(specs, output=(1, 1))({"s8": values}, one([4, 4, 11, 11]))
    before = PsRoiPool(specs, output=(1, 1), rounding="before")({"s8": values}, one([4, 4, 11, 11]))
    assert after.item() == 16
    assert before.item() == (1 + 2 + 8 + 16) / 4


@pytest.mark.parametrize("make", [PsRoiPool, MAKERS["ps_roi_pool before"], PsRoiAlign])
def test_each_bin_reads_channels_of_its_own(make: Any) -> None:
    # channel number n is n everywhere, so bin (i, j) of output c shows which channel it read
    values = torch.arange(2 * 6.0).view(1, 12, 1, 1).expand(1, 12, 10, 10).contiguous()
    pooled = make({"s8": FeatureSpec(12, 8)}, output=(2, 3))({"s8": values}, one([16, 16, 64, 64]))
    assert pooled.shape == (1, 2, 2, 3)
    torch.testing.assert_close(pooled.flatten(), torch.arange(12.0))


def test_ps_roi_align_of_a_ramp_is_the_ramp_at_the_bins_middle() -> None:
    # cells x 2 to 10, y 4 to 16, aligned; 2x2 bins are 6 high and 4 wide, and every channel is the same ramp
    values = ramp(24, 24).repeat(1, 4, 1, 1)
    pooled = PsRoiAlign({"s4": FeatureSpec(4, 4)}, output=(2, 2))({"s4": values}, one([8, 16, 40, 64]))
    expected = [[3 * (y - 0.5) + 5 * (x - 0.5) + 7 for x in (4, 8)] for y in (7, 13)]
    torch.testing.assert_close(pooled, torch.tensor([[expected]]))


def test_what_a_pool_declares() -> None:
    pool = RoiAlign(SPECS, output=(3, 5), levels=("s8", "s16"))
    assert (pool.output, pool.levels, pool.channels) == ((3, 5), ("s8", "s16"), 8)
    assert PsRoiPool(SPECS, output=(2, 2)).channels == 2
    assert "output=(3, 5), levels=('s8', 's16')" in repr(pool)


def test_score_maps_of_other_channels_than_the_necks_are_pooled() -> None:
    pool = PsRoiPool(SPECS, output=(3, 3), levels=("s8",))
    pooled = pool({"s8": torch.randn(1, 45, 12, 12)}, one([8, 8, 40, 40]))
    assert pooled.shape == (1, 5, 3, 3)


def test_position_sensitive_pooling_of_maps_that_do_not_split_is_refused_when_asked() -> None:
    with pytest.raises(RecipeError) as caught:
        _ = PsRoiPool(SPECS, output=(3, 3)).channels
    assert str(caught.value) == (
        "roi_pool: position-sensitive pooling into 3x3 bins needs maps whose channels are a multiple of 9, "
        "but s4 has 8. Use roi_align or roi_pool with this head, or the head rfcn, which makes such maps."
    )


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (("s61",), 'levels: there is no map "s61" to pool from (did you mean "s16"?). The neck gives: s4, s8, s16.'),
        (("s2",), 'levels: there is no map "s2" to pool from. The neck gives: s4, s8, s16.'),
        (("conv5",), 'levels: there is no map "conv5" to pool from. The neck gives: s4, s8, s16.'),
        ((), "levels is empty: name at least one. The neck gives: s4, s8, s16."),
        (("s8", "s4"), "levels: s8, s4 must be named once each, finest first. The neck gives: s4, s8, s16."),
        (("s8", "s8"), "levels: s8, s8 must be named once each, finest first. The neck gives: s4, s8, s16."),
    ],
)
def test_levels_that_the_neck_does_not_give_are_refused(levels: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        RoiAlign(SPECS, levels=levels)
    assert str(caught.value) == message


def test_maps_of_different_channels_are_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        RoiMaxPool({"s8": FeatureSpec(64, 8), "s16": FeatureSpec(128, 16)})
    assert str(caught.value) == (
        "levels: regions pooled from several maps must have the same channels, found: s8 (64), s16 (128). "
        "Name one level, or use neck: {type: fpn}."
    )


def test_the_maximum_of_an_unknown_number_of_samples_is_refused() -> None:
    with pytest.raises(RecipeError) as caught:
        RoiAlign(SPECS, reduce="max")
    assert str(caught.value) == (
        "reduce: max needs a fixed number of samples in each bin, but sampling_ratio is 0 (as many as fit). "
        "Set sampling_ratio to 1 or more (Mask R-CNN: 2), or reduce: average."
    )
