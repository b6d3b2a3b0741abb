"""Inception v2 by the paper's count of its numbers, Inception-ResNet v2 and NASNet-A by timm's networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from detzoo.components.backbones.inception import InceptionV2
from detzoo.components.backbones.inception_resnet import InceptionResNetV2, inception_resnet_v2_tail
from detzoo.components.backbones.nasnet import NasNet, NasNetTail

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:timm")


def test_inception_v2_has_as_many_numbers_as_huang_et_al_count() -> None:
    backbone = InceptionV2(levels=("s32",))
    convolutions = sum(m.weight.numel() for m in backbone.modules() if isinstance(m, nn.Conv2d))
    normed = sum(m.num_features for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))
    # table 2 of arXiv:1611.10012: slim's norms have a shift, a mean and a variance, no scale; the separable first
    # convolution had a bias of 64 in place of a norm then
    assert convolutions + 3 * (normed - 64) + 64 == 10_173_112


def test_inception_v2_pools_without_its_border_and_its_last_module_takes_the_maximum() -> None:
    pools = [m for m in InceptionV2(levels=("s32",)).modules() if isinstance(m, nn.AvgPool2d | nn.MaxPool2d)]
    assert [type(pool).__name__ for pool in pools[-2:]] == ["AvgPool2d", "MaxPool2d"]
    assert [pool.count_include_pad for pool in pools if isinstance(pool, nn.AvgPool2d)] == [False] * 7


@pytest.mark.slow
def test_nasnet_and_its_tail_are_timms_network() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    whole = timm.create_model("nasnetalarge", pretrained=False, num_features=96).eval()
    backbone, tail = NasNet(levels=("s8", "s16"), filters=4).eval(), NasNetTail(96).eval()
    state = whole.state_dict()
    backbone.load_state_dict({f"body.{k}": v for k, v in state.items() if f"body.{k}" in backbone.state_dict()})
    tail.load_state_dict({k: v for k, v in state.items() if k in tail.state_dict()})
    assert {k: (s.channels, s.stride) for k, s in backbone.out.items()} == {"s8": (24, 8), "s16": (96, 16)}
    assert {name.partition(".")[0] for name in state if f"body.{name}" not in backbone.state_dict()} == {
        *("reduction_cell_1", "cell_12", "cell_13", "cell_14", "cell_15", "cell_16", "cell_17", "last_linear")
    }
    pixels = torch.randn(1, 3, 97, 131)
    with torch.no_grad():
        maps = backbone(pixels)
        torch.testing.assert_close(tail(maps["s16"]), whole.forward_features(pixels))
    assert {k: tuple(m.shape[1:]) for k, m in maps.items()} == {"s8": (24, 12, 17), "s16": (96, 6, 9)}


@pytest.mark.slow
def test_inception_resnet_has_cells_for_every_stride_and_dilation_only_adds_cells_between() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    whole: Any = timm.create_model("inception_resnet_v2", pretrained=False).eval()
    plain = InceptionResNetV2(levels=("s8", "s16", "s32")).eval()
    dilated = InceptionResNetV2(levels=("s8", "s8_dilated"), dilated=True).eval()
    for backbone in (plain, dilated):
        state, missing = whole.state_dict(), backbone.state_dict()
        backbone.load_state_dict({f"body.{k}": v for k, v in state.items() if f"body.{k}" in missing})
    pixels = torch.randn(1, 3, 75, 107)
    with torch.no_grad():
        maps, wide = plain(pixels), dilated(pixels)
    assert {k: tuple(m.shape[1:]) for k, m in maps.items()} == {
        "s8": (320, 10, 14),
        "s16": (1088, 5, 7),
        "s32": (1536, 3, 4),
    }
    assert wide["s8_dilated"].shape == (1, 1088, 10, 14)
    # every second cell of the dilated map sees what a cell of the plain one sees
    torch.testing.assert_close(wide["s8_dilated"][..., ::2, ::2], maps["s16"], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_the_tail_of_inception_resnet_is_the_end_of_timms_network() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    whole: Any = timm.create_model("inception_resnet_v2", pretrained=False).eval()
    tail = inception_resnet_v2_tail().eval()
    tail.load_state_dict({k: v for k, v in whole.state_dict().items() if k in tail.state_dict()})
    seen: list[torch.Tensor] = []
    whole.repeat_1.register_forward_hook(lambda _, given, answer: seen.append(answer))
    with torch.no_grad():
        expected = whole.forward_features(torch.randn(1, 3, 299, 299))
        assert seen[0].shape == (1, 1088, 17, 17)
        found = tail(seen[0])
    assert found.shape == (1, 1536, 8, 8)
    torch.testing.assert_close(found, expected)
