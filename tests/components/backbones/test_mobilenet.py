"""MobileNets: widths, taps of the SSDs, and version 1 by formula."""

from typing import Any

import torch
from torch import nn

from detzoo.components.backbones.mobilenet import MobileNetV1, MobileNetV2, MobileNetV3Large
from tests.components.backbones.fresh_norms import randomise_norms


def test_width_multiplier() -> None:
    assert {k: v.channels for k, v in MobileNetV2(width=0.5, last_conv=True).out.items()} == {
        "s8": 16,
        "s16": 48,
        "s32": 1280,
    }
    assert [s.channels for s in MobileNetV1(width=0.25).out.values()] == [64, 128, 256]


def test_ssdlite_taps_of_torchvision() -> None:
    backbone = MobileNetV3Large((320, 320), levels=("s16_expand", "s32"), last_conv=True, reduced_tail=True)
    assert [(s.channels, s.size) for s in backbone.out.values()] == [(672, (20, 20)), (480, (10, 10))]
    whole = MobileNetV3Large((320, 320), levels=("s16_expand", "s32"), last_conv=True)
    assert [s.channels for s in whole.out.values()] == [672, 960]


def test_ssd_taps_of_tensorflow() -> None:
    backbone = MobileNetV2((300, 300), levels=("s16_expand", "s32"), last_conv=True)
    assert [(s.channels, s.size) for s in backbone.out.values()] == [(576, (19, 19)), (1280, (10, 10))]
    first = MobileNetV1((300, 300), levels=("s16", "s32"))
    assert [(s.channels, s.size) for s in first.out.values()] == [(512, (19, 19)), (1024, (10, 10))]


def test_mobilenet_v1_by_formula() -> None:
    torch.manual_seed(0)
    backbone = MobileNetV1(levels=("s32",), width=0.25).eval()
    randomise_norms(backbone)
    state = backbone.state_dict()

    def layer(x: torch.Tensor, name: str, stride: int, groups: int) -> Any:
        weight = state[f"body.features.{name}.0.weight"]
        mean, var, scale, shift = (
            state[f"body.features.{name}.1.{k}"].view(1, -1, 1, 1)
            for k in ("running_mean", "running_var", "weight", "bias")
        )
        x = nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        return ((x - mean) / (var + 1e-3).sqrt() * scale + shift).clamp(0, 6)

    x = pixels = torch.randn(1, 3, 64, 96)
    x = layer(x, "0", 2, 1)
    for i in range(1, 14):
        x = layer(x, f"{i}.0", 2 if i in (2, 4, 6, 12) else 1, x.shape[1])
        x = layer(x, f"{i}.1", 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(backbone(pixels)["s32"], x, rtol=1e-4, atol=1e-4)
