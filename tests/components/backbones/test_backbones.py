"""Every backbone: what it declares is what flows, and it is torchvision's network with torchvision's weights."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from detzoo.components.backbones.mobilenet import MobileNetV1, MobileNetV2, MobileNetV3Large
from detzoo.components.backbones.resnet import ResNet18, ResNet50
from detzoo.components.backbones.squeezenet import SqueezeNet11
from detzoo.components.backbones.vgg import Vgg16
from detzoo.errors import RecipeError
from detzoo.interfaces import Backbone
from detzoo.plugins.registry import get_registry
from detzoo.weights.backbone import load_backbone_weights
from tests.components.backbones.fresh_norms import randomise_norms

TARGETS = {entry.name: str(entry.target) for entry in get_registry().entries("backbone") if entry.plugin == "core"}

# name -> torchvision's builder, and the layer and channels of every level; written down by reading the papers' tables.
LAYERS: dict[str, tuple[str, dict[str, tuple[str, int]]]] = {
    "alexnet": (
        "alexnet",
        {"s4": ("features.1", 64), "s8": ("features.4", 192), "s16": ("features.11", 256), "s32": ("features.12", 256)},
    ),
    "vgg16": (
        "vgg16",
        {
            "s1": ("features.3", 64),
            "s2": ("features.8", 128),
            "s4": ("features.15", 256),
            "s8": ("features.22", 512),
            "s16": ("features.29", 512),
            "s32": ("features.30", 512),
        },
    ),
    "squeezenet1_1": (
        "squeezenet1_1",
        {"s2": ("features.1", 64), "s4": ("features.4", 128), "s8": ("features.7", 256), "s16": ("features.12", 512)},
    ),
    "shufflenet_v2": (
        "shufflenet_v2_x1_0",
        {
            "s2": ("conv1", 24),
            "s4": ("maxpool", 24),
            "s8": ("stage2", 116),
            "s16": ("stage3", 232),
            "s32": ("stage4", 464),
        },
    ),
    "efficientnet_b0": (
        "efficientnet_b0",
        {
            "s2": ("features.1", 16),
            "s4": ("features.2", 24),
            "s8": ("features.3", 40),
            "s16": ("features.5", 112),
            "s32": ("features.7", 320),
        },
    ),
    "mobilenet_v2": (
        "mobilenet_v2",
        {
            "s2": ("features.1", 16),
            "s4": ("features.3", 24),
            "s8": ("features.6", 32),
            "s8_expand": ("features.7.conv.0", 192),
            "s16": ("features.13", 96),
            "s16_expand": ("features.14.conv.0", 576),
            "s32": ("features.17", 320),
        },
    ),
    "mobilenet_v3_large": (
        "mobilenet_v3_large",
        {
            "s2": ("features.1", 16),
            "s4": ("features.3", 24),
            "s8": ("features.6", 40),
            "s16": ("features.12", 112),
            "s16_expand": ("features.13.block.0", 672),
            "s32_first": ("features.13", 160),
            "s32": ("features.15", 160),
        },
    ),
    "mobilenet_v3_small": (
        "mobilenet_v3_small",
        {
            "s2": ("features.0", 16),
            "s4": ("features.1", 16),
            "s8": ("features.3", 24),
            "s16": ("features.8", 48),
            "s16_expand": ("features.9.block.0", 288),
            "s32_first": ("features.9", 96),
            "s32": ("features.11", 96),
        },
    ),
    **{
        name: (
            builder,
            {
                "s2": ("relu", 64),
                "s4": ("layer1", 64 * wide),
                "s8": ("layer2", 128 * wide),
                "s16": ("layer3", 256 * wide),
                "s32": ("layer4", 512 * wide),
            },
        )
        for name, builder, wide in [
            ("resnet18", "resnet18", 1),
            ("resnet34", "resnet34", 1),
            ("resnet50", "resnet50", 4),
            ("resnet101", "resnet101", 4),
            ("resnext50", "resnext50_32x4d", 4),
        ]
    },
}
OWN = {
    "efficientnet_lite0": {"s2": 16, "s4": 24, "s8": 40, "s16": 112, "s32": 320},
    "inception_v2": {"s2": 64, "s4": 192, "s8": 320, "s16_first": 576, "s16": 576, "s32": 1024},
    "mobilenet_v1": {"s2": 64, "s4": 128, "s8": 256, "s16": 512, "s32": 1024},
    "caffenet": {"s4": 96, "s8": 256, "s16": 256, "s32": 256},
    "zf5": {"s2": 96, "s4": 96, "s8": 256, "s16": 256},
}
SIZES = [(64, 96), (67, 65)]
"""(height, width) px: multiples of the coarsest stride, and of none."""
NAMES = sorted(set(LAYERS) | set(OWN))


def make(name: str, size: tuple[int, int] | None = None, **fields: Any) -> Backbone:
    module, _, cls = TARGETS[name].partition(":")
    backbone = getattr(importlib.import_module(module), cls)(size, **fields)
    assert isinstance(backbone, Backbone)
    return backbone


def channels_of(name: str) -> dict[str, int]:
    return OWN[name] if name in OWN else {level: channels for level, (_, channels) in LAYERS[name][1].items()}


def test_every_registered_backbone_is_tested_here() -> None:
    assert set(NAMES) == set(TARGETS) - {
        *("timm", "image_pyramid", "inception_resnet_v2", "nasnet")  # these have files of their own
    }
    assert len(NAMES) == 18


@pytest.mark.parametrize("name", NAMES)
def test_declared_channels_and_strides_are_those_of_the_papers_tables(name: str) -> None:
    """On the meta device; the conformance kit runs each on real images (tests/testing/test_kit.py)."""
    expected = channels_of(name)
    assert len(expected) >= 4
    with torch.device("meta"):
        free = make(name, levels=tuple(expected)).eval()
    assert {level: spec.channels for level, spec in free.out.items()} == expected
    for height, width in SIZES:
        maps = free(torch.empty(1, 3, height, width, device="meta"))
        assert list(maps) == list(expected)
        for level, value in maps.items():
            spec = free.out[level]
            assert spec.size is None
            assert spec.stride == int(re.findall(r"s(\d+)", level)[0])
            assert value.shape[:2] == (1, spec.channels)
            assert abs(value.shape[2] - height / spec.stride) <= 1.5
            assert abs(value.shape[3] - width / spec.stride) <= 1.5


@pytest.mark.parametrize("name", NAMES)
def test_a_fixed_input_size_fixes_the_declared_sizes(name: str) -> None:
    size = SIZES[1]
    with torch.device("meta"):
        backbone = make(name, size).eval()
        maps = backbone(torch.empty(2, 3, *size))
    assert {level: tuple(value.shape[2:]) for level, value in maps.items()} == {
        level: spec.size for level, spec in backbone.out.items()
    }


DEEPER = ("resnet34", "resnet101")
"""More of the blocks of ResNet-18 and ResNet-50."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in DEEPER else []) for name in sorted(LAYERS)]
)
def test_maps_equal_torchvisions_with_the_same_state_dict(name: str, tmp_path: Path) -> None:
    builder, layers = LAYERS[name]
    torch.manual_seed(0)
    slow = {"init_weights": False} if builder == "vgg16" else {}  # it initialises 138 million weights twice
    reference = getattr(torchvision.models, builder)(**slow).eval()
    randomise_norms(reference)
    # the classifier's weights are nine tenths of VGG16's and AlexNet's, and not loaded
    state = {
        key: value[:1] if key.startswith("classifier.") else value for key, value in reference.state_dict().items()
    }
    save_file(state, tmp_path / "weights.safetensors")
    backbone = make(name, levels=tuple(layers)).eval()
    loaded = load_backbone_weights(backbone, tmp_path / "weights.safetensors")
    assert loaded.loaded + len(loaded.dropped) == len(reference.state_dict())

    seen: dict[str, torch.Tensor] = {}
    for level, (path, _) in layers.items():

        def keep(_m: nn.Module, _a: Any, output: torch.Tensor, level: str = level) -> None:
            seen.setdefault(level, output.clone())  # resnet calls its relu once, blocks have their own

        reference.get_submodule(path).register_forward_hook(keep)
    pixels = torch.randn(1, 3, 65, 98)
    with torch.no_grad():
        reference(pixels)
        maps = backbone(pixels)
    assert set(seen) == set(maps)
    for level, value in maps.items():
        torch.testing.assert_close(value, seen[level], rtol=1e-5, atol=1e-5)
        assert value.std() > 0


def test_a_wrong_level_names_those_that_exist() -> None:
    with pytest.raises(RecipeError) as error:
        ResNet18(levels=("s8", "s_16"))
    assert str(error.value) == (
        'levels: there is no level "s_16" (did you mean "s16"?). ResNet18 has: s2, s4, s8, s16, s32'
    )
    with pytest.raises(RecipeError) as error:
        SqueezeNet11(levels=("conv4_3",))
    assert str(error.value) == 'levels: there is no level "conv4_3". SqueezeNet11 has: s2, s4, s8, s16'


def test_no_level_and_unordered_levels_are_refused() -> None:
    with pytest.raises(RecipeError) as error:
        Vgg16(levels=())
    assert str(error.value) == "levels is empty: name at least one. Vgg16 has: s1, s2, s4, s8, s16, s32"
    with pytest.raises(RecipeError) as error:
        Vgg16(levels=("s16", "s8", "s8"))
    assert str(error.value) == "levels: [s16, s8, s8] must be in the order of the network, each once: [s8, s16]"


def test_too_small_an_input_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"Vgg16 cannot take an input of 16 x 16 px .*Choose a larger input.size"):
        Vgg16((16, 16))


def test_layers_beyond_the_deepest_level_are_not_kept() -> None:
    backbone = MobileNetV2(levels=("s8", "s16_expand"))
    assert max(int(k.split(".")[2]) for k in backbone.state_dict()) == 14
    assert {k for k in backbone.state_dict() if k.startswith("body.features.14.")} == {
        f"body.features.14.conv.0.{k}"
        for k in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")
    }
    assert [key.removesuffix(".*") for key in backbone.classifier_keys] == [
        "features.14.conv.1", "features.14.conv.2", "features.14.conv.3", "features.15", "features.16", "features.17",
        "features.18", "classifier",
    ]  # fmt: skip


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_published_by_keras_and_torchvision() -> None:
    with torch.device("meta"):
        assert parameters(MobileNetV1()) == 3_206_976  # Keras, include_top=False, trainable
        assert parameters(MobileNetV2(last_conv=True)) == 3_504_872 - 1_281_000
        assert parameters(Vgg16()) == 14_714_688
        assert parameters(ResNet50()) == 25_557_032 - 2_049_000


def test_batch_norm_settings_reach_every_norm() -> None:
    backbone = MobileNetV3Large(norm_eps=0.002, norm_momentum=0.03)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) > 30
    assert {(m.eps, m.momentum) for m in norms} == {(0.002, 0.03)}


def test_init_std_redraws_all_convolutions() -> None:
    backbone = MobileNetV3Large(init_std=0.03)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert {round(float(m.weight.detach().std()), 3) for m in convolutions if m.weight.numel() > 50_000} <= {
        0.029, 0.03, 0.031,
    }  # fmt: skip
    assert all(float(m.bias.detach().abs().max()) == 0 for m in convolutions if m.bias is not None)
    assert any(m.bias is not None for m in convolutions)


def test_a_backbone_survives_copy_state_dict_and_export() -> None:
    import copy

    backbone = MobileNetV2((64, 96), levels=("s8", "s16_expand")).eval()
    twin = copy.deepcopy(backbone)
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        exported = torch.export.export(twin, (pixels,)).module()(pixels)
        for level, value in backbone(pixels).items():
            torch.testing.assert_close(exported[level], value)
