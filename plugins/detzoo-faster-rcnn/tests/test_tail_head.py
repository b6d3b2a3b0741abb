"""The rest of a classifier as a box head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detzoo.components.box_coders import CentreSize
from detzoo.components.roi_pools import RoiAlign
from detzoo.errors import RecipeError
from detzoo.types import Candidates, FeatureSpec, ImageBatch
from detzoo_faster_rcnn.tail_head import RoiBoxTail

SPECS = {"s16": FeatureSpec(576, 16.0)}


def rois(*boxes: list[float]) -> Candidates:
    made = torch.tensor([boxes], dtype=torch.float32).reshape(1, -1, 4)
    return Candidates(made, torch.ones(1, len(boxes), dtype=torch.bool))


def images() -> ImageBatch:
    region = torch.tensor([[0.0, 0, 96, 64]])
    return ImageBatch(
        torch.zeros(1, 3, 64, 96), region, torch.tensor([[64, 96]]), torch.ones(1, 2), torch.zeros(1, dtype=torch.long)
    )


def head() -> RoiBoxTail:
    torch.manual_seed(0)
    return RoiBoxTail(SPECS, 3, roi_pool=RoiAlign(SPECS, output=(7, 7)), box_coder=CentreSize(), network="inception_v2")


def test_no_regions() -> None:
    places, predictions = head()({"s16": torch.randn(1, 576, 4, 6)}, images(), rois())
    assert predictions.class_logits is not None
    assert (predictions.class_logits.shape, predictions.deltas.shape) == ((1, 0, 4), (1, 0, 3, 4))
    assert places.coder is not None


def test_inception_v2_halves_seven_bins_to_four_and_averages_them() -> None:
    own = head().eval()
    names = [name for name, _ in own.tail.named_children()]
    assert names == ["mixed_5a", "mixed_5b", "mixed_5c"]
    features, boxes = {"s16": torch.randn(1, 576, 4, 6)}, rois([0, 0, 64, 64], [10, 5, 90, 60])
    with torch.no_grad():
        _, found = own(features, images(), boxes)
        seen = own.tail(own.roi_pool(features, boxes))
        assert seen.shape == (2, 1024, 4, 4)
        logits = seen.flatten(2).mean(2) @ own.predictor.classification.weight.T + own.predictor.classification.bias
    assert found.class_logits is not None
    torch.testing.assert_close(found.class_logits[0], logits, rtol=1e-4, atol=1e-5)


def test_statistics_are_constants_in_training() -> None:
    own = head().train()
    norms = [m for m in own.tail.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 19  # 5 strided, then 7 in each of two modules
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    _, found = own({"s16": torch.randn(1, 576, 4, 6)}, images(), rois([0, 0, 64, 64]))
    assert found.class_logits is not None
    torch.autograd.backward(found.class_logits.square().sum() + found.deltas.square().sum())
    assert all(torch.equal(a, b.running_mean) for a, b in zip(before, norms, strict=True) if b.running_mean is not None)
    assert [name for name, p in own.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            "inception_v2",
            "head roi_box_tail: regions are pooled from a map of 32 channels, inception_v2's has 576. "
            "Use backbone: {type: inception_v2} with neck: {type: identity}, and name its map under roi_pool.levels.",
        ),
        (
            "nasnet",
            "head roi_box_tail: regions are pooled from a map of 32 channels, nasnet's has 24 for each filter "
            "(168 filters: 4032). Use backbone: {type: nasnet, levels: [s16]} with neck: {type: identity}.",
        ),
    ],
)
def test_a_map_of_another_network_is_refused(network: str, message: str) -> None:
    specs = {"s16": FeatureSpec(32, 16.0)}
    with pytest.raises(RecipeError) as error:
        RoiBoxTail(specs, 3, roi_pool=RoiAlign(specs), box_coder=CentreSize(), network=network)  # type: ignore[arg-type]
    assert str(error.value) == message
