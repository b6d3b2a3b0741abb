"""RetinaNet's, FCOS's and GFL's heads: where scores start, what is shared, and what distances can be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from detzoo.components.anchors import Grid
from detzoo.components.box_coders import Bins, CentreSize, Edges
from detzoo.errors import RecipeError
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs, ImageBatch
from detzoo_retinanet.fcos_head import FcosHead
from detzoo_retinanet.gfl_head import GflHead
from detzoo_retinanet.head import RetinaNetHead

SPECS: FeatureSpecs = {"s8": FeatureSpec(64, 8.0), "s16": FeatureSpec(64, 16.0)}
CELLS = {"s8": (3, 5), "s16": (2, 3)}


def retinanet(classes: int = 2, specs: FeatureSpecs = SPECS, **config: Any) -> RetinaNetHead:
    sizes = [[32.0], [64.0]]
    torch.manual_seed(0)
    return RetinaNetHead(specs, classes, anchors=Grid(sizes=sizes, octave=3), box_coder=CentreSize(), **config)


def fcos(classes: int = 2, ratios: list[float] | None = None, **config: Any) -> FcosHead:
    anchors = Grid(sizes=[[8.0], [16.0]], ratios=ratios or [1.0])
    torch.manual_seed(0)
    return FcosHead(SPECS, classes, anchors=anchors, box_coder=Edges(), **config)


def gfl(classes: int = 2, **config: Any) -> GflHead:
    parts: dict[str, Any] = {"anchors": Grid(sizes=[[64.0], [128.0]], ratios=[1.0]), "box_coder": Bins(reg_max=6)}
    torch.manual_seed(0)
    return GflHead(SPECS, classes, **{**parts, **config})


def maps(images: int = 2) -> FeatureMaps:
    torch.manual_seed(1)
    return {name: torch.randn(images, 64, *cells) for name, cells in CELLS.items()}


def batch(images: int = 2) -> ImageBatch:
    region, size = torch.tensor([[0.0, 0, 40, 24]]), torch.tensor([[24, 40]])
    pixels = torch.zeros(images, 3, 24, 40)
    one = torch.ones(images, 2)
    return ImageBatch(pixels, region.repeat(images, 1), size.repeat(images, 1), one, torch.arange(images))


def test_no_images() -> None:
    for head in (retinanet(), fcos(), gfl()):
        candidates, predictions = head(maps(0), batch(0))
        assert predictions.class_logits is not None
        assert predictions.class_logits.shape == (0, candidates.boxes.shape[1], 2)


def test_nine_anchors_in_every_cell() -> None:
    candidates, predictions = retinanet()(maps(), batch())
    assert predictions.class_logits is not None
    assert [level.count for level in candidates.levels] == [3 * 5 * 9, 2 * 3 * 9]
    assert predictions.class_logits.shape == (2, 21 * 9, 2)
    assert predictions.deltas.shape == (2, 21 * 9, 1, 4)


def test_scores_start_at_the_prior_and_weights_are_shared_by_all_maps() -> None:
    head = retinanet(prior=0.01)
    bias = head.classification.bias
    assert bias is not None
    torch.testing.assert_close(torch.sigmoid(bias), torch.full((18,), 0.01))  # -log((1 - .01) / .01) = -4.595
    _, predictions = head(maps(), batch())
    assert predictions.class_logits is not None
    torch.testing.assert_close(
        torch.sigmoid(predictions.class_logits), torch.full((2, 189, 2), 0.01), atol=1e-3, rtol=0
    )
    flat = {"s8": maps()["s8"], "s16": maps()["s8"][:, :, :2, :3]}
    _, predictions = head({**flat, "s16": flat["s8"]}, batch())
    assert predictions.class_logits is not None
    torch.testing.assert_close(predictions.class_logits[:, :135], predictions.class_logits[:, 135:])
    free = retinanet(prior=None).classification.bias
    assert free is not None
    assert not free.any()


def test_the_weights_start_small_and_the_towers_share_nothing() -> None:
    head = retinanet()
    assert head.class_tower[0][0].weight.std().item() == pytest.approx(0.01, rel=0.05)  # type: ignore[index]
    assert not {id(p) for p in head.class_tower.parameters()} & {id(p) for p in head.box_tower.parameters()}


@pytest.mark.parametrize(("depth", "norm", "layers"), [(4, "none", 8), (2, "group", 4), (0, "none", 0)])
def test_towers(depth: int, norm: str, layers: int) -> None:
    head = retinanet(depth=depth, norm=norm)
    towers = [layer for layer in head.modules() if isinstance(layer, nn.Conv2d)]
    assert len(towers) == layers + 2
    # torchvision's RetinaNet has no bias in front of a norm, its FCOS has
    biases = [layer.bias is not None for layer in towers]
    assert biases == [norm == "none"] * layers + [True] * 2
    assert sum(isinstance(layer, nn.GroupNorm) for layer in head.modules()) == (layers if norm == "group" else 0)
    assert all(layer.bias is not None for layer in fcos().modules() if isinstance(layer, nn.Conv2d))


def test_towers_of_another_width() -> None:
    head = retinanet(channels=96)
    assert (head.class_tower[0][0].in_channels, head.classification.in_channels) == (64, 96)  # type: ignore[index]
    with pytest.raises(RecipeError) as error:
        retinanet(channels=40, norm="group")
    assert str(error.value) == (
        "head: norm: group makes 32 groups of two channels or more, into which 40 cannot be divided; "
        "take 64, 96 or another multiple of 32, or norm: none"
    )


def test_maps_of_different_widths_are_refused() -> None:
    with pytest.raises(RecipeError) as error:
        retinanet(specs={"s8": FeatureSpec(16, 8.0), "s16": FeatureSpec(64, 16.0)})
    assert str(error.value) == (
        "head retinanet: its weights are shared by all maps, which need one number of channels; found: s8 (16), "
        "s16 (64). Choose one with backbone.levels, or a neck such as {type: fpn}."
    )


@pytest.mark.parametrize("positive", ["relu", "exp"])
def test_fcos_looks_once_in_every_cell_and_its_distances_are_not_negative(positive: str) -> None:
    candidates, predictions = fcos(positive=positive, init_std=0.3)(maps(), batch())
    assert predictions.deltas.shape == (2, 21, 1, 4)
    assert predictions.deltas.min() >= 0
    assert predictions.deltas.std() > 0
    assert predictions.quality_logits is not None
    assert predictions.quality_logits.shape == (2, 21)
    boxes = candidates.boxes[0, :2]
    assert boxes.tolist() == [[-4, -4, 4, 4], [4, -4, 12, 4]]  # squares of the stride around the points (0, 0), (8, 0)


def test_fcos_scales_of_each_map() -> None:
    head = fcos(scale=True, positive="relu", init_std=0.3)
    _, before = head(maps(), batch())
    assert head.scales is not None
    with torch.no_grad():
        head.scales[1] = 3.0
    _, after = head(maps(), batch())
    assert torch.equal(before.deltas[:, :15], after.deltas[:, :15])
    torch.testing.assert_close(3 * before.deltas[:, 15:], after.deltas[:, 15:])


def test_fcos_centreness_branches_off_either_tower() -> None:
    for tower, part in (("classification", "class_tower"), ("regression", "box_tower")):
        head = fcos(centreness_on=tower)
        _, predictions = head(maps(), batch())
        assert predictions.quality_logits is not None
        predictions.quality_logits.sum().backward()  # type: ignore[no-untyped-call]
        reached = {name.partition(".")[0] for name, p in head.named_parameters() if p.grad is not None}
        assert reached == {part, "centreness"}


def test_fcos_has_one_box_in_each_cell() -> None:
    with pytest.raises(RecipeError) as error:
        fcos(ratios=[0.5, 1.0])
    assert str(error.value) == (
        "head fcos: every cell predicts one box, but the anchors are 2 in each cell; "
        "give each level one size, and ratios: [1.0]"
    )


def test_gfl_boxes_are_the_means_of_distributions_in_strides() -> None:
    candidates, predictions = gfl(init_std=1e-4)(maps(), batch())
    assert [level.count for level in candidates.levels] == [3 * 5, 2 * 3]
    assert predictions.distribution is not None
    assert predictions.quality_logits is None
    assert predictions.distribution.shape == (2, 21, 4, 7)
    chances = torch.softmax(predictions.distribution, -1)
    expected = sum(place * chances[..., place] for place in range(7))
    torch.testing.assert_close(predictions.deltas, expected.unsqueeze(2))  # type: ignore[union-attr]
    # logits near 0 at the start: edges 3 strides from the centre of each cell, on every map
    assert candidates.coder is not None
    boxes = candidates.coder.decode(predictions.deltas[:, :, 0], candidates.boxes, candidates.strides())
    sides = boxes[..., 2:] - boxes[..., :2]
    torch.testing.assert_close(sides[:, :15], torch.full((2, 15, 2), 48.0), rtol=0.01, atol=0)
    torch.testing.assert_close(sides[:, 15:], torch.full((2, 6, 2), 72.0), rtol=0.01, atol=0)  # 24 px in 2 rows: 12 px


def test_gfl_each_map_has_a_factor_of_its_own_and_edges_stand_left_top_right_bottom() -> None:
    head = gfl(depth=0)
    with torch.no_grad():
        assert head.regression.bias is not None
        head.regression.weight.zero_()
        head.regression.bias.copy_(torch.arange(28.0))  # edge e, bin b: 7 e + b
        head.scales.copy_(torch.tensor([1.0, 2.0]))
    _, predictions = head(maps(), batch())
    assert predictions.distribution is not None
    expected = torch.arange(28.0).view(4, 7)
    assert torch.equal(predictions.distribution[:, :15], expected.expand(2, 15, 4, 7))
    assert torch.equal(predictions.distribution[:, 15:], (2 * expected).expand(2, 6, 4, 7))


def test_gfl_wants_one_anchor_and_bins() -> None:
    with pytest.raises(RecipeError, match="anchors are 3 in each cell"):
        gfl(anchors=Grid(sizes=[[64.0], [128.0]]))
    with pytest.raises(RecipeError, match="box coder has none"):
        gfl(box_coder=Edges())
