"""Identity, feature pyramid, U-Net."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn as mobilenet_v3_large_fpn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from detzoo.components.backbones.mobilenet import MobileNetV3Large
from detzoo.components.necks.csp_pafpn import CspPafpn
from detzoo.components.necks.fpn import Fpn
from detzoo.components.necks.identity import Identity
from detzoo.components.necks.unet import Unet
from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureSpec, FeatureSpecs

CHANNELS = {"s8": 24, "s16": 32, "s32": 48}


def specs(sizes: dict[str, tuple[int, int]] | None = None) -> FeatureSpecs:
    return {k: FeatureSpec(c, float(k[1:]), sizes[k] if sizes else None) for k, c in CHANNELS.items()}


def maps(height: int, width: int) -> dict[str, Tensor]:
    return {k: torch.randn(2, c, -(-height // int(k[1:])), -(-width // int(k[1:]))) for k, c in CHANNELS.items()}


NECKS: list[tuple[str, type[Any], dict[str, Any]]] = [
    ("identity", Identity, {}),
    ("fpn", Fpn, {"channels": 16}),
    ("fpn pool", Fpn, {"channels": 16, "extra": "pool"}),
    ("fpn p6p7 p5", Fpn, {"channels": 16, "extra": "p6p7", "norm": "batch"}),
    ("fpn p6p7 c5", Fpn, {"channels": 16, "extra": "p6p7", "extra_from": "c5"}),
    ("csp_pafpn", CspPafpn, {}),
    (
        "csp_pafpn rtmdet",
        CspPafpn,
        {"channels": [16, 24, 32], "out_channels": 24, "block": "large_kernel", "depthwise": True},
    ),
    ("unet", Unet, {"channels": 16}),
    ("unet fine", Unet, {"channels": 16, "levels": ("s8",), "norm": "none"}),
]


@pytest.mark.parametrize(("cls", "fields"), [n[1:] for n in NECKS], ids=[n[0] for n in NECKS])
@pytest.mark.parametrize("size", [(96, 160), (131, 97)])
def test_declared_maps_are_the_real_ones(cls: type[Neck], fields: dict[str, Any], size: tuple[int, int]) -> None:
    features = maps(*size)
    given = dict(features)
    neck = cls(specs({k: (v.shape[2], v.shape[3]) for k, v in features.items()}), **fields)
    out = neck(features)
    assert features == given, "the given mapping is left alone"
    assert {k: (s.channels, s.size) for k, s in neck.out.items()} == {
        k: (v.shape[1], tuple(v.shape[2:])) for k, v in out.items()
    }
    assert [s.stride for s in neck.out.values()] == [float(k[1:]) for k in out]
    assert [s.size for s in cls(specs(), **fields).out.values()] == [None] * len(out)


@pytest.mark.parametrize(("cls", "fields"), [n[1:] for n in NECKS[1:]], ids=[n[0] for n in NECKS[1:]])
def test_gradients_reach_every_parameter(cls: type[Neck], fields: dict[str, Any]) -> None:
    neck = cls(specs(), **fields)
    out = neck(maps(64, 96))
    torch.autograd.backward(torch.stack([(v * torch.randn_like(v)).sum() for v in out.values()]).sum())
    assert [n for n, p in neck.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("fields", "extra", "norm"),
    [
        ({}, None, None),
        ({"extra": "pool"}, LastLevelMaxPool(), None),
        ({"extra": "p6p7"}, LastLevelP6P7(16, 16), None),
        ({"extra": "p6p7", "extra_from": "c5", "norm": "batch"}, LastLevelP6P7(48, 16), nn.BatchNorm2d),
    ],
    ids=["none", "pool", "p6p7 from p5", "p6p7 from c5, batch norm"],
)
def test_fpn_equals_torchvisions_with_its_state_dict(fields: dict[str, Any], extra: Any, norm: Any) -> None:
    torch.manual_seed(0)
    reference = FeaturePyramidNetwork(list(CHANNELS.values()), 16, extra_blocks=extra, norm_layer=norm).eval()
    for p in reference.parameters():
        nn.init.uniform_(p, -0.2, 0.2)
    own = Fpn(specs(), channels=16, **fields).eval()
    own.load_state_dict(reference.state_dict())
    features = maps(131, 97)
    with torch.no_grad():
        expected, found = reference(dict(features)), own(features)
    assert len(expected) == len(found)
    for a, b in zip(expected.values(), found.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_fpn_adds_the_nearest_coarse_cell() -> None:
    neck = Fpn({"s8": FeatureSpec(1, 8.0), "s16": FeatureSpec(1, 16.0)}, channels=1)
    for block in (*neck.inner_blocks, *neck.layer_blocks):
        convolution = block.get_submodule("0")
        assert isinstance(convolution, nn.Conv2d)
        nn.init.dirac_(convolution.weight)
    fine, coarse = torch.zeros(1, 1, 3, 3), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    out = neck({"s8": fine, "s16": coarse})
    assert out["s8"][0, 0].tolist() == [[1, 1, 2], [1, 1, 2], [3, 3, 4]]


def test_fpn_on_the_two_maps_of_stride_32_of_torchvisions_mobilenet_v3() -> None:
    reference = mobilenet_v3_large_fpn(weights_backbone=None, min_size=64).backbone.eval()
    body = MobileNetV3Large(levels=("s32_first", "s32"), last_conv=True).eval()
    neck = Fpn(body.out, channels=256, extra="pool").eval()
    body.load_state_dict({f"body.features.{k}": v for k, v in reference.body.state_dict().items()})
    neck.load_state_dict(reference.fpn.state_dict())
    assert {name: (s.channels, s.stride) for name, s in body.out.items()} == {
        "s32_first": (160, 32.0),
        "s32": (960, 32.0),
    }
    assert {name: s.stride for name, s in neck.out.items()} == {"s32_first": 32.0, "s32": 32.0, "s64": 64.0}
    pixels = torch.randn(1, 3, 97, 130)
    with torch.no_grad():
        expected, found = reference(pixels), neck(body(pixels))
    assert list(expected) == ["0", "1", "pool"]
    for a, b in zip(expected.values(), found.values(), strict=True):
        torch.testing.assert_close(a, b)


def test_names_of_the_extra_levels() -> None:
    assert list(Fpn(specs(), extra="pool").out) == ["s8", "s16", "s32", "s64"]
    assert list(Fpn(specs(), extra="p6p7").out) == ["s8", "s16", "s32", "s64", "s128"]


def test_maps_that_are_no_pyramid_are_refused() -> None:
    with pytest.raises(RecipeError) as error:
        Fpn({})
    assert str(error.value) == (
        "neck: fpn needs maps that never become finer from one to the next, found: none. "
        "Change backbone.levels, or use neck: {type: identity}."
    )
    with pytest.raises(RecipeError) as error:
        Fpn({"s16": FeatureSpec(8, 16.0), "s8": FeatureSpec(8, 8.0)})
    assert str(error.value) == (
        "neck: fpn needs maps that never become finer from one to the next, found: s16 (stride 16), s8 (stride 8). "
        "Change backbone.levels, or use neck: {type: identity}."
    )
    with pytest.raises(RecipeError) as error:
        Unet({"s16": FeatureSpec(8, 16.0), "s16_expand": FeatureSpec(8, 16.0)})
    assert str(error.value) == (
        "neck: unet needs maps that become coarser from one to the next, found: s16 (stride 16), s16_expand "
        "(stride 16). Change backbone.levels, or use neck: {type: identity}."
    )


def test_unet_levels() -> None:
    assert list(Unet(specs(), levels=("s8", "s32")).out) == ["s8", "s32"]
    assert list(Unet(specs(), levels=("s16",)).blocks) == ["s16", "s32"]
    with pytest.raises(RecipeError) as error:
        Unet(specs(), levels=("s32", "s8"))
    assert str(error.value) == "neck: levels [s32, s8] must be among [s8, s16, s32], in that order, each once"


def test_csp_pafpn_counts_its_channels() -> None:
    with pytest.raises(RecipeError, match="2 numbers for 3 maps"):
        CspPafpn(specs(), channels=[16, 16])


def test_csp_pafpn_as_yolox_writes_it() -> None:
    """The same modules, called one by one in the order of ``YOLOPAFPN.forward``."""
    neck, (x2, x1, x0) = CspPafpn(specs()).eval(), maps(64, 96).values()

    def doubled(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    fpn_out0 = neck.reductions[1](x0)
    f_out0 = neck.top_down[1](torch.cat([doubled(fpn_out0), x1], 1))
    fpn_out1 = neck.reductions[0](f_out0)
    pan_out2 = neck.top_down[0](torch.cat([doubled(fpn_out1), x2], 1))
    pan_out1 = neck.bottom_up[0](torch.cat([neck.downsamplings[0](pan_out2), fpn_out1], 1))
    pan_out0 = neck.bottom_up[1](torch.cat([neck.downsamplings[1](pan_out1), fpn_out0], 1))
    found = neck({"s8": x2, "s16": x1, "s32": x0})
    for ours, theirs in zip(found.values(), (pan_out2, pan_out1, pan_out0), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_csp_pafpn_on_maps_that_were_rounded_down() -> None:
    features = {"s8": torch.randn(1, 24, 9, 13), "s16": torch.randn(1, 32, 4, 6), "s32": torch.randn(1, 48, 2, 3)}
    out = CspPafpn(specs())(features)
    assert [tuple(m.shape[-2:]) for m in out.values()] == [(9, 13), (4, 6), (2, 3)]
