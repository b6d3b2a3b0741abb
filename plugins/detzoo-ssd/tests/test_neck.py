"""SSD's extra layers and L2Norm."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec
from detzoo_ssd.neck import L2Norm, SsdExtra

VGG_300 = {"s8": FeatureSpec(512, 8.0, (38, 38)), "s16": FeatureSpec(1024, 16.0, (19, 19))}
VGG_512 = {"s8": FeatureSpec(512, 8.0, (64, 64)), "s16": FeatureSpec(1024, 16.0, (32, 32))}
SSD300: dict[str, Any] = {"channels": [512, 256, 256, 256], "strides": [2, 2, 1, 1], "paddings": [1, 1, 0, 0]}
SSD512: dict[str, Any] = {
    "channels": [512, 256, 256, 256, 256],
    "strides": [2, 2, 2, 2, 1],
    "kernels": [3, 3, 3, 3, 4],
}


def sides(neck: SsdExtra) -> list[int]:
    return [spec.size[0] for spec in neck.out.values() if spec.size]


def test_l2_norm() -> None:
    norm = L2Norm(2, 20.0)
    feature = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])  # two cells: (3, 4) and (0, 0)
    assert norm(feature)[0, :, 0, 0].tolist() == pytest.approx([12.0, 16.0])  # 20 · (3, 4) / 5
    assert norm(feature)[0, :, 0, 1].tolist() == [0.0, 0.0]
    assert norm.weight.requires_grad
    assert norm.weight.tolist() == [20.0, 20.0]
    norm(torch.zeros(1, 2, 1, 1)).sum().backward()
    assert norm.weight.grad is not None
    assert torch.isfinite(norm.weight.grad).all()


def test_only_the_outgoing_map_is_normalised() -> None:
    specs = {"s8": FeatureSpec(2, 8.0), "s16": FeatureSpec(2, 16.0)}
    neck = SsdExtra(specs, channels=[4], l2_norm={"s8": 20.0, "s16": 5.0})
    features = {"s8": torch.ones(1, 2, 4, 4), "s16": torch.full((1, 2, 2, 2), 7.0)}
    out = neck(features)
    torch.testing.assert_close(out["s8"], torch.full((1, 2, 4, 4), 20 / sqrt(2)))
    torch.testing.assert_close(out["s16"], torch.full((1, 2, 2, 2), 5 / sqrt(2)))
    torch.testing.assert_close(out["extra1"], neck.extra["extra1"](features["s16"]))
    assert features["s8"].max() == 1


def test_maps_of_ssd300_and_ssd512() -> None:
    assert sides(SsdExtra(VGG_300, **SSD300)) == [38, 19, 10, 5, 3, 1]
    assert sides(SsdExtra(VGG_512, **SSD512)) == [64, 32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_declared_maps_are_what_comes_out(depthwise: bool, norm: Any) -> None:
    specs = {"s16": FeatureSpec(6, 16.0, (10, 15))}
    neck = SsdExtra(specs, channels=[8, 4], depthwise=depthwise, norm=norm).eval()
    out = neck({"s16": torch.zeros(2, 6, 10, 15)})
    assert list(out) == ["s16", "extra1", "extra2"]
    for name, spec in neck.out.items():
        assert out[name].shape[1:] == (spec.channels, *(spec.size or ()))
    convs = [m for m in neck.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == (6 if depthwise else 4)
    assert sum(conv.groups > 1 for conv in convs) == (2 if depthwise else 0)
    assert all((conv.bias is None) == (norm == "batch") for conv in convs)


def test_no_extra_layers_hands_the_maps_on() -> None:
    neck = SsdExtra(VGG_300, channels=[])
    assert neck.out == VGG_300


def test_xavier_initialisation() -> None:
    conv = SsdExtra(VGG_300, **SSD300).get_submodule("extra.extra1.0")
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    bound = sqrt(6 / (1024 + 256))  # fan-in + fan-out of the 1x1 convolution
    assert bound * 0.99 < conv.weight.abs().max() <= bound
    assert not conv.bias.any()


def test_mistakes_are_named() -> None:
    with pytest.raises(RecipeError) as error:
        SsdExtra(VGG_300, channels=[8, 8], strides=[2])
    assert str(error.value) == (
        "strides has 1 entries, but channels asks for 2 extra layers. Give one entry for each, or null."
    )
    with pytest.raises(RecipeError) as error:
        SsdExtra(VGG_300, channels=[], l2_norm={"conv4_3": 20.0})
    assert str(error.value) == "l2_norm names map 'conv4_3'; the backbone gives s8, s16."
    with pytest.raises(RecipeError) as error:
        SsdExtra({"s16": FeatureSpec(8, 16.0, (2, 2))}, channels=[8], paddings=[0])
    assert str(error.value) == (
        "layer extra1 (kernel 3, padding 0) would shrink a map of 2x2 to nothing. "
        "Ask for fewer layers in channels, or a larger input.size."
    )


def test_a_linear_last_layer_is_torchvisions_inverted_residual() -> None:
    """The extra layers of qfgaohao's and lufficc's MobileNetV2 SSDs: 1280 to 512 with a factor of 0.2, and so on."""
    shapes = ((512, 256), (256, 128), (256, 128), (64, 64))  # (channels, hidden)
    neck = SsdExtra(
        {"s32": FeatureSpec(1280, 32.0)},
        channels=[width for width, _ in shapes],
        bottleneck=[hidden for _, hidden in shapes],
        depthwise=True,
        norm="batch",
        activation="relu6",
        last_activation=False,
    ).eval()
    given = torch.randn(1, 1280, 10, 10, generator=torch.Generator().manual_seed(0))
    found = neck({"s32": given})
    feature, inputs = given, 1280
    for number, (width, hidden) in enumerate(shapes, start=1):
        theirs = InvertedResidual(inputs, width, 2, hidden / inputs).eval()
        own = neck.extra[f"extra{number}"].state_dict()
        theirs.load_state_dict(dict(zip(theirs.state_dict(), own.values(), strict=True)))
        feature, inputs = theirs(feature), width
        torch.testing.assert_close(found[f"extra{number}"], feature)
    assert min(float(found[f"extra{number}"].detach().min()) for number in (1, 2, 3, 4)) < 0


def test_keras_padding_puts_the_odd_pixel_right_and_below() -> None:
    neck = SsdExtra({"s8": FeatureSpec(2, 8.0, (4, 4))}, channels=[2], padding="keras")
    plain = SsdExtra({"s8": FeatureSpec(2, 8.0, (4, 4))}, channels=[2])
    plain.load_state_dict(neck.state_dict())
    feature = torch.randn(1, 2, 4, 4)
    layer = plain.extra["extra1"]
    assert isinstance(layer, nn.Sequential)
    narrow = layer[:2](feature)
    conv = layer[2]
    assert isinstance(conv, nn.Conv2d)
    padded = nn.functional.pad(narrow, (0, 1, 0, 1))
    expected = nn.functional.conv2d(padded, conv.weight, conv.bias, stride=2).relu()
    torch.testing.assert_close(neck({"s8": feature})["extra1"], expected)
    assert sides(neck) == sides(plain) == [4, 2]
    assert not torch.allclose(plain({"s8": feature})["extra1"], expected)
