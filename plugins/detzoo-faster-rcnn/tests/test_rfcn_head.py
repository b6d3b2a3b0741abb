"""R-FCN's head: position-sensitive maps and votes, against plain loops and maps that can be read."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detzoo.components.box_coders import CentreSize
from detzoo.components.roi_pools import PositionSensitivePool, PsRoiAlign, PsRoiPool, RoiAlign, RoiMaxPool
from detzoo.errors import RecipeError
from detzoo.types import Candidates, FeatureSpec, FeatureSpecs, ImageBatch, Predictions
from detzoo_faster_rcnn.rfcn_head import RfcnHead

ONE: FeatureSpecs = {"s16": FeatureSpec(4, 16.0)}
TWO: FeatureSpecs = {"s8": FeatureSpec(4, 8.0), "s16": FeatureSpec(4, 16.0)}


def head(
    *, pool: PositionSensitivePool | None = None, specs: FeatureSpecs = ONE, classes: int = 2, **config: Any
) -> RfcnHead:
    """Of two classes with 3x3 bins on one map."""
    pooling = pool or PsRoiPool(specs, output=(3, 3))
    return RfcnHead(specs, classes, roi_pool=pooling, box_coder=CentreSize(), **{"channels": None, **config})


def batch(count: int, height: int = 96, width: int = 128) -> ImageBatch:
    region = torch.tensor([[0.0, 0.0, width, height]]).expand(count, 4)
    size = torch.tensor([[height, width]]).expand(count, 2)
    return ImageBatch(torch.zeros(count, 3, height, width), region, size, torch.ones(count, 2), torch.arange(count))


def rois(*boxes: list[list[float]]) -> Candidates:
    made = torch.tensor(boxes).reshape(len(boxes), -1, 4)
    return Candidates(made, torch.ones(made.shape[:2], dtype=torch.bool))


def ask(made: RfcnHead, maps: dict[str, Tensor], regions: Candidates) -> Predictions:
    _, predictions = made(maps, batch(regions.boxes.shape[0]), regions)
    assert isinstance(predictions, Predictions)
    return predictions


def logits_of(predictions: Predictions) -> Tensor:
    assert predictions.class_logits is not None
    return predictions.class_logits


def pass_maps_through(made: RfcnHead) -> None:
    """Make the classification the identity, so that the neck's map is the score map."""
    nn.init.zeros_(made.classification.weight)
    made.classification.weight.data.flatten(1).fill_diagonal_(1.0)


@pytest.mark.parametrize("images", [0, 2])
def test_without_regions_predictions_are_empty_and_in_the_graph(images: int) -> None:
    maps = {"s16": torch.randn(images, 4, 6, 8)}
    nothing = Candidates(torch.zeros(images, 0, 4), torch.zeros(images, 0, dtype=torch.bool))
    made = head()
    regions, predictions = made(maps, batch(images), nothing)
    assert regions.coder is made.coder
    assert logits_of(predictions).shape == (images, 0, 3)
    assert predictions.deltas.shape == (images, 0, 1, 4)
    (logits_of(predictions).sum() + predictions.deltas.sum()).backward()  # type: ignore[no-untyped-call]
    assert made.classification.weight.grad is not None
    assert not made.classification.weight.grad.any()


@pytest.mark.parametrize(("agnostic", "boxes"), [(True, 1), (False, 2)])
def test_shapes(agnostic: bool, boxes: int) -> None:
    made = head(class_agnostic=agnostic, channels=5)
    regions = rois([[0, 0, 64, 64], [10, 10, 90, 50], [5, 0, 30, 96]], [[0, 0, 9, 9], [1, 2, 3, 4], [0, 0, 128, 96]])
    predictions = ask(made, {"s16": torch.randn(2, 4, 6, 8)}, regions)
    assert logits_of(predictions).shape == (2, 3, 3)
    assert predictions.deltas.shape == (2, 3, boxes, 4)
    assert predictions.scoring == made.scoring == "softmax"
    assert [layer.out_channels for layer in made.modules() if isinstance(layer, nn.Conv2d)] == [5, 27, 36 * boxes]


def test_boxes_are_class_agnostic_and_background_has_none() -> None:
    # the released rfcn_bbox has 2 * 4 * 49 outputs; background's half is never trained nor read
    made = RfcnHead(ONE, 20, roi_pool=PsRoiPool(ONE, output=(7, 7)), box_coder=CentreSize())
    assert made.regression.out_channels == 4 * 49
    assert made.classification.out_channels == 21 * 49
    assert made.get_submodule("conv.0").out_channels == 1024


def test_each_bin_reads_its_own_group_of_channels() -> None:
    made = head()
    nn.init.zeros_(made.classification.weight)
    assert made.classification.bias is not None
    made.classification.bias.data = torch.arange(27.0)  # the map of class c and bin b holds 9 c + b
    maps = {"s16": torch.randn(1, 4, 6, 8)}
    bins = made.roi_pool({"s16": made.position_sensitive(maps["s16"])}, rois([[0, 0, 128, 96]]))
    assert bins[0, 1].tolist() == [[9, 10, 11], [12, 13, 14], [15, 16, 17]]
    logits = logits_of(ask(made, maps, rois([[0, 0, 128, 96], [30, 20, 90, 70]])))
    assert logits[0].tolist() == [[4, 13, 22], [4, 13, 22]]  # the mean of 0..8 is 4


def test_a_region_that_is_off_loses_the_vote() -> None:
    """Figures 3 and 4 of the paper: an object lights the map of each part where that part is."""
    specs = {"s16": FeatureSpec(27, 16.0)}
    made = head(specs=specs)
    pass_maps_through(made)
    maps = torch.zeros(1, 27, 6, 8)
    for row, column in itertools.product(range(3), range(3)):
        maps[0, 9 + row * 3 + column, 1 + row, 2 + column] = 1.0  # class 0 stands on cells 1..3, 2..4
    right, left, far = [32.0, 16.0, 80.0, 64.0], [16.0, 16.0, 64.0, 64.0], [64.0, 48.0, 112.0, 96.0]
    logits = logits_of(ask(made, {"s16": maps}, rois([right, left, far])))
    torch.testing.assert_close(logits[0], torch.tensor([[0, 1.0, 0], [0, 0, 0], [0, 0, 0]]))


def released_layer(maps: Tensor, box: list[float], scale: float, bins: int) -> Tensor:
    """PSROIPooling of the released Caffe, and its average, in plain loops: [C] of one region and one image's maps."""
    channels, height, width = len(maps) // bins**2, maps.shape[1], maps.shape[2]
    left, top = (math.floor(v + 0.5) * scale for v in box[:2])
    right, bottom = ((math.floor(v + 0.5) + 1) * scale for v in box[2:])
    step_x, step_y = max(right - left, 0.1) / bins, max(bottom - top, 0.1) / bins
    votes = []
    for channel in range(channels):
        total = 0.0
        for i, j in itertools.product(range(bins), range(bins)):
            rows = range(max(0, math.floor(top + i * step_y)), min(height, math.ceil(top + (i + 1) * step_y)))
            columns = range(max(0, math.floor(left + j * step_x)), min(width, math.ceil(left + (j + 1) * step_x)))
            cells = [float(maps[(channel * bins + i) * bins + j, y, x]) for y in rows for x in columns]
            total += sum(cells) / len(cells) if cells else 0.0
        votes.append(total / bins**2)
    return torch.tensor(votes)


def test_votes_are_those_of_a_plain_loop() -> None:
    torch.manual_seed(0)
    made = head(pool=PsRoiPool(ONE, output=(3, 3), rounding="before"), class_agnostic=False, channels=5, init_std=0.3)
    maps = torch.randn(2, 4, 6, 8)
    first = [[0.0, 0.0, 127.0, 95.0], [17.3, 4.6, 52.4, 80.1], [40.0, 40.0, 41.0, 41.0]]
    second = [[3.0, 60.2, 125.7, 90.0], [100.0, 0.0, 140.0, 30.0], [0.0, 0.0, 16.0, 16.0]]
    predictions = ask(made, {"s16": maps}, rois(first, second))
    for image, boxes in enumerate((first, second)):
        seen = torch.relu(made.conv[0](maps[image]))
        scores, deltas = made.classification(seen).detach(), made.regression(seen).detach()
        for row, box in enumerate(boxes):
            torch.testing.assert_close(logits_of(predictions)[image, row], released_layer(scores, box, 1 / 16, 3))
            expected = released_layer(deltas, box, 1 / 16, 3).view(2, 4)  # class, then dx dy dw dh
            torch.testing.assert_close(predictions.deltas[image, row], expected)


def test_levels_share_the_convolutions() -> None:
    pool = PsRoiPool(TWO, output=(2, 2), canonical_size=64, canonical_level=4)
    made = head(specs=TWO, pool=pool)
    maps = {"s8": torch.full((1, 4, 12, 16), 1.0), "s16": torch.full((1, 4, 6, 8), 2.0)}
    made.classification.weight.data.fill_(1.0)
    logits = logits_of(ask(made, maps, rois([[0, 0, 32, 32], [0, 0, 64, 64]])))
    assert logits[0].tolist() == [[4.0] * 3, [8.0] * 3]  # four channels of ones on s8, of twos on s16


@pytest.mark.parametrize("kind", [PsRoiPool, PsRoiAlign])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 4000)])
def test_odd_regions_and_images_stay_finite(kind: type[PsRoiPool | PsRoiAlign], height: int, width: int) -> None:
    made = head(pool=kind(ONE, output=(7, 7)))
    feature = torch.randn(1, 4, height // 16, width // 16, requires_grad=True)
    pixel, outside, nothing = [3.0, 3.0, 4.0, 4.0], [-40.0, -9.0, width + 9.0, height + 9.0], [5.0, 5.0, 5.0, 5.0]
    regions = rois([pixel, outside, nothing, [0.0, 0.0, width, height]] * 250)
    predictions = ask(made, {"s16": feature}, regions)
    assert logits_of(predictions).shape == (1, 1000, 3)
    assert logits_of(predictions).isfinite().all()
    assert predictions.deltas.isfinite().all()
    (logits_of(predictions).square().sum() + predictions.deltas.sum()).backward()  # type: ignore[no-untyped-call]
    assert feature.grad is not None
    assert feature.grad.isfinite().all()


def test_what_stands_in_padding_is_harmless() -> None:
    made = head()
    boxes = torch.tensor([[[10.0, 10.0, 60.0, 60.0], [math.nan] * 4]])
    maps = {"s16": torch.randn(1, 4, 6, 8)}
    predictions = ask(made, maps, Candidates(boxes, torch.tensor([[True, False]])))
    alone = ask(made, maps, Candidates(boxes[:, :1], torch.tensor([[True]])))
    assert logits_of(predictions).isfinite().all()
    assert torch.equal(logits_of(predictions)[:, :1], logits_of(alone))


@pytest.mark.parametrize("pool", [PsRoiPool(ONE, output=(2, 2), rounding="before"), PsRoiAlign(ONE, output=(2, 2))])
def test_gradients(pool: PositionSensitivePool) -> None:
    torch.manual_seed(0)
    made = head(pool=pool, classes=1, channels=2, init_std=0.5).double()
    regions = rois([[3.0, 5.0, 40.0, 30.0], [20.0, 11.0, 47.0, 47.0]])
    feature = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)

    def votes(values: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        predictions = ask(made, {"s16": values}, regions)
        return logits_of(predictions), predictions.deltas

    assert torch.autograd.gradcheck(votes, (feature, *made.parameters()))


@pytest.mark.parametrize("kind", [RoiAlign, RoiMaxPool])
def test_pooling_that_is_not_position_sensitive_is_refused(kind: type[RoiAlign | RoiMaxPool]) -> None:
    with pytest.raises(RecipeError) as error:
        RfcnHead(ONE, 2, roi_pool=kind(ONE), box_coder=CentreSize())
    assert str(error.value) == (
        f"head rfcn: its score maps need position-sensitive pooling, {kind.__name__} reads every channel in every bin. "
        "Use roi_pool: {type: ps_roi_pool} or {type: ps_roi_align}, or head roi_box."
    )


def test_maps_of_different_channels_are_refused() -> None:
    specs = {"s16": FeatureSpec(1024, 16.0), "s16_dilated": FeatureSpec(2048, 16.0)}
    with pytest.raises(RecipeError) as error:
        head(specs=specs)
    assert str(error.value) == (
        "head rfcn: its weights are shared by all maps, which need one number of channels; found: s16 (1024), "
        "s16_dilated (2048). Choose one with roi_pool.levels, or a neck such as {type: fpn}."
    )
    assert head(specs=specs, pool=PsRoiPool(specs, levels=("s16_dilated",))).levels == ("s16_dilated",)
