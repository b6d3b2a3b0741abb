"""ResNet's last stage as a box head: torchvision's layer4 with its weights, an average, two linear layers."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from detzoo.components.backbones.freeze import FrozenBatchNorm2d
from detzoo.components.box_coders import CentreSize
from detzoo.components.roi_pools import RoiAlign
from detzoo.types import Candidates, FeatureSpec, ImageBatch
from detzoo_faster_rcnn.res5_head import RoiBoxRes5

WIDTH = 32  # of the stride-16 map; 1024 in ResNet-50
SPECS = {"s16": FeatureSpec(WIDTH, 16.0)}


def rois(*boxes: list[float]) -> Candidates:
    made = torch.tensor([boxes], dtype=torch.float32).reshape(1, -1, 4)
    return Candidates(made, torch.ones(1, len(boxes), dtype=torch.bool))


def images() -> ImageBatch:
    size = torch.tensor([[64, 96]])
    region = torch.tensor([[0.0, 0, 96, 64]])
    return ImageBatch(torch.zeros(1, 3, 64, 96), region, size, torch.ones(1, 2), torch.zeros(1, dtype=torch.long))


def head(stride: int = 1, stride_in: str = "3x3", norm: str = "batch") -> RoiBoxRes5:
    pool = RoiAlign(SPECS, output=(4, 4))
    return RoiBoxRes5(SPECS, 3, roi_pool=pool, box_coder=CentreSize(), stride=stride, stride_in=stride_in, norm=norm)  # type: ignore[arg-type]


def test_no_regions() -> None:
    places, predictions = head()({"s16": torch.randn(1, WIDTH, 4, 6)}, images(), rois())
    assert predictions.class_logits is not None
    assert (predictions.class_logits.shape, predictions.deltas.shape) == ((1, 0, 4), (1, 0, 3, 4))
    assert places.coder is not None


@pytest.mark.parametrize(("stride", "stride_in"), [(2, "3x3"), (2, "1x1"), (1, "3x3")])
def test_equals_torchvisions_layer4_with_its_weights(stride: int, stride_in: str) -> None:
    torch.manual_seed(0)
    network = SimpleNamespace(_norm_layer=nn.BatchNorm2d, dilation=1, inplanes=WIDTH, groups=1, base_width=64)
    reference = ResNet._make_layer(network, Bottleneck, WIDTH // 2, 3, stride=2)
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    own = head(stride, stride_in, "frozen").eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.endswith("num_batches_tracked")}
    own.layer4.load_state_dict(state)
    first = reference.get_submodule("0")
    convolutions = [first.get_submodule(name) for name in ("conv1", "conv2", "downsample.0")]
    for convolution, moves in zip(convolutions, (stride_in == "1x1", stride_in == "3x3", True), strict=True):
        assert isinstance(convolution, nn.Conv2d)
        convolution.stride = (stride, stride) if moves else (1, 1)
    features = {"s16": torch.randn(1, WIDTH, 4, 6)}
    boxes = rois([0, 0, 64, 64], [10, 5, 90, 60])
    with torch.no_grad():
        _, found = own(features, images(), boxes)
        pooled = own.roi_pool(features, boxes)
        seen = reference.eval()(pooled)
        assert seen.shape[-1] == 4 // stride
        seen = seen.mean(3).mean(2)
        logits = seen @ own.predictor.classification.weight.T + own.predictor.classification.bias
        deltas = seen @ own.predictor.regression.weight.T + own.predictor.regression.bias
    assert found.class_logits is not None
    torch.testing.assert_close(found.class_logits[0], logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.deltas[0], deltas.view(2, 3, 4), rtol=1e-4, atol=1e-5)


def test_frozen_norms_are_constants_and_all_else_learns() -> None:
    own = head(norm="frozen").train()
    norms = [m for m in own.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(norms) == 10
    assert all(list(norm.parameters()) == [] for norm in norms)
    _, found = own({"s16": torch.randn(1, WIDTH, 4, 6)}, images(), rois([0, 0, 64, 64]))
    assert found.class_logits is not None
    torch.autograd.backward(found.class_logits.square().sum() + found.deltas.square().sum())
    assert [name for name, p in own.named_parameters() if p.grad is None] == []
