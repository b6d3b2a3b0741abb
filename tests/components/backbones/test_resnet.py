"""ResNets: where they stride, and what is dilated instead."""

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from detzoo.components.backbones.resnet import ResNet50, ResNet101
from detzoo.errors import RecipeError
from tests.components.backbones.fresh_norms import randomise_norms


def test_resnet_stride_in_1x1_or_3x3() -> None:
    torch.manual_seed(0)
    late, early = ResNet50(stride_in="3x3").eval(), ResNet50(stride_in="1x1").eval()
    early.load_state_dict(late.state_dict())
    strides = [early.body.get_submodule(f"layer{i}.0.conv{j}").stride for i in (2, 3, 4) for j in (1, 2)]
    assert strides == [(2, 2), (1, 1)] * 3
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        a, b = late(pixels), early(pixels)
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    assert not torch.allclose(a["s32"], b["s32"])


@pytest.mark.parametrize("cls", [ResNet50, pytest.param(ResNet101, marks=pytest.mark.slow)])  # the same blocks
def test_dilated_resnet_by_torchvisions_builder_and_one_more_dilation(cls: Any) -> None:
    torch.manual_seed(0)
    builder = {ResNet50: torchvision.models.resnet50, ResNet101: torchvision.models.resnet101}[cls]
    reference = builder(replace_stride_with_dilation=[False, False, True]).eval()
    randomise_norms(reference)
    backbone = cls(levels=("s8", "s16", "s16_dilated"), dilated=True).eval()
    state = {f"body.{k}": v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    backbone.load_state_dict(state)
    assert {k: (s.channels, s.stride) for k, s in backbone.out.items()} == {
        "s8": (512, 8.0),
        "s16": (1024, 16.0),
        "s16_dilated": (2048, 16.0),
    }
    # R-FCN's prototxt dilates the first block's 3x3 too, where torchvision only removes its stride
    first = reference.layer4[0].conv2
    assert (first.stride, first.dilation) == ((1, 1), (1, 1))
    first.dilation, first.padding = (2, 2), (2, 2)
    pixels = torch.randn(1, 3, 67, 90)
    x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(pixels))))
    with torch.no_grad():
        expected = reference.layer4(reference.layer3(reference.layer2(reference.layer1(x))))
        found = backbone(pixels)["s16_dilated"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    # the paper's weights stride in the 1x1 convolution: no stride is left there either
    early = ResNet50(levels=("s16_dilated",), dilated=True, stride_in="1x1")
    convolutions = [m for m in early.body.get_submodule("layer4").modules() if isinstance(m, nn.Conv2d)]
    assert {m.stride for m in convolutions} == {(1, 1)}
    assert [m.dilation for m in convolutions if m.kernel_size == (3, 3)] == [(2, 2)] * 3


def test_resnet_dilated_twice_by_torchvisions_builder_and_two_more_dilations() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]).eval()
    randomise_norms(reference)
    backbone = ResNet50(levels=("s8", "s8_dilated", "s8_dilated_4"), dilated="twice").eval()
    backbone.load_state_dict({f"body.{k}": v for k, v in reference.state_dict().items() if not k.startswith("fc.")})
    assert {k: (s.channels, s.stride) for k, s in backbone.out.items()} == {
        "s8": (512, 8.0),
        "s8_dilated": (1024, 8.0),
        "s8_dilated_4": (2048, 8.0),
    }
    for stage, rate in ((reference.layer3, 2), (reference.layer4, 4)):
        first = stage[0].conv2  # torchvision gives it the dilation of the stage before
        assert first.dilation == (rate // 2, rate // 2)
        first.dilation, first.padding = (rate, rate), (rate, rate)
    pixels = torch.randn(1, 3, 67, 90)
    with torch.no_grad():
        x = reference.layer2(
            reference.layer1(reference.maxpool(reference.relu(reference.bn1(reference.conv1(pixels)))))
        )
        found = backbone(pixels)
        torch.testing.assert_close(found["s8_dilated"], reference.layer3(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["s8_dilated_4"], reference.layer4(reference.layer3(x)), rtol=1e-4, atol=1e-4)


def test_a_dilated_resnet_has_no_stride_32() -> None:
    with pytest.raises(RecipeError) as error:
        ResNet50(levels=("s16", "s32"), dilated=True)
    assert str(error.value) == (
        'levels: there is no level "s32" (did you mean "s2"?). ResNet50 has: s2, s4, s8, s16, s16_dilated'
    )
