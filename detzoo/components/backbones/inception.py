"""Inception v2, as TensorFlow's detectors have it."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Annotated, Final, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory

Activation: TypeAlias = Literal["relu", "relu6"]
Pool: TypeAlias = Literal["average", "max"]

# 1x1; 1x1 and 3x3; 1x1, 3x3 and 3x3; the pool and the 1x1 behind it
_MODULES: Final[dict[str, tuple[int, tuple[int, int], tuple[int, int], Pool, int]]] = {
    "mixed_3b": (64, (64, 64), (64, 96), "average", 32),
    "mixed_3c": (64, (64, 96), (64, 96), "average", 64),
    "mixed_4b": (224, (64, 96), (96, 128), "average", 128),
    "mixed_4c": (192, (96, 128), (96, 128), "average", 128),
    "mixed_4d": (160, (128, 160), (128, 160), "average", 96),
    "mixed_4e": (96, (128, 192), (160, 192), "average", 96),
    "mixed_5b": (352, (192, 320), (160, 224), "average", 128),
    "mixed_5c": (352, (192, 320), (192, 224), "max", 128),
}
# 1x1 and a strided 3x3; 1x1, 3x3 and a strided 3x3; a strided pool
_REDUCTIONS: Final = {
    "mixed_4a": ((128, 160), (64, 96)),
    "mixed_5a": ((128, 192), (192, 256)),
}
_ORDER: Final = (
    *("conv2d_1a", "maxpool_2a", "conv2d_2b", "conv2d_2c", "maxpool_3a", "mixed_3b", "mixed_3c"),
    *("mixed_4a", "mixed_4b", "mixed_4c", "mixed_4d", "mixed_4e", "mixed_5a", "mixed_5b", "mixed_5c"),
)


class InceptionV2(TappedBackbone):
    """Inception v2: BN-Inception with a separable first convolution.

    Neither torchvision nor timm has it, so it is written here from its table. No weights for it in PyTorch's form are
    known: pretrain it, or train from scratch.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), appendix; TensorFlow's slim, ``inception_v2_base``, for the
    widths and the names of the layers. Strided layers are padded evenly where TensorFlow's SAME puts the odd pixel
    right and below.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (conv2d_1a, 64 channels), ``s4`` (conv2d_2c, 192), ``s8`` (mixed_3c, 320), ``s16_first``
            (mixed_4c, 576: the first SSD tap of TensorFlow's model), ``s16`` (mixed_4e, 576: of its Faster R-CNN),
            ``s32`` (mixed_5c, 1024).
        activation: ``relu`` (slim, Faster R-CNN) or ``relu6`` (TensorFlow's SSD).
        norm: batch norms.
        norm_eps: of the batch norms.
        norm_momentum: share of the new batch in the running statistics.
    """

    expects = None  # no weights known, so no normalisation to hold the recipe to

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        activation: Activation = "relu",
        norm: Norm = "batch",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01,  # torch's momentum is 1 - TensorFlow's decay
    ) -> None:
        super().__init__(
            inception_v2_layers(activation=activation, norm=norm, norm_eps=norm_eps, norm_momentum=norm_momentum),
            steps=_ORDER,
            taps={
                "s2": Tap("conv2d_1a", 2),
                "s4": Tap("conv2d_2c", 4),
                "s8": Tap("mixed_3c", 8),
                "s16_first": Tap("mixed_4c", 16),
                "s16": Tap("mixed_4e", 16),
                "s32": Tap("mixed_5c", 32),
            },
            levels=levels,
            input_size=input_size,
        )


class InceptionBranches(nn.Module):
    """Branches of one input, their outputs side by side: [B,C,h,w] -> [B,sum of the branches,h,w]."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def inception_v2_layers(
    *, activation: Activation = "relu", norm: Norm = "batch", norm_eps: float = 1e-3, norm_momentum: float = 0.01
) -> nn.Sequential:
    """The network without its classifier, its layers under slim's names in small letters."""
    conv = partial(
        Conv2dNormActivation,
        norm_layer=norm_factory(norm, eps=norm_eps, momentum=norm_momentum),
        activation_layer=nn.ReLU6 if activation == "relu6" else nn.ReLU,
    )
    # separable: eight filters for each colour, and no norm between the two
    first = nn.Sequential(nn.Conv2d(3, 24, 7, 2, 3, groups=3, bias=False), conv(24, 64, 1))
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv2d_1a=first,
        maxpool_2a=nn.MaxPool2d(3, 2, 1),
        conv2d_2b=conv(64, 64, 1),
        conv2d_2c=conv(64, 192, 3),
        maxpool_3a=nn.MaxPool2d(3, 2, 1),
    )
    channels = 192
    for name in _ORDER[5:]:
        layers[name], channels = _module(conv, name, channels)
    body = nn.Sequential(layers)
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return body


def _module(conv: partial[Conv2dNormActivation], name: str, channels: int) -> tuple[nn.Module, int]:
    """The named module on ``channels``, and how many channels leave it."""
    if name in _REDUCTIONS:
        (narrow, one), (narrow_two, two) = _REDUCTIONS[name]
        branches = (
            nn.Sequential(conv(channels, narrow, 1), conv(narrow, one, 3, 2)),
            nn.Sequential(conv(channels, narrow_two, 1), conv(narrow_two, two, 3), conv(two, two, 3, 2)),
            nn.MaxPool2d(3, 2, 1),  # the pool has no 1x1 behind it in a reduction
        )
        return InceptionBranches(*branches), one + two + channels  # the pool keeps all channels
    direct, (narrow, one), (narrow_two, two), pool, behind = _MODULES[name]
    # TensorFlow's SAME averages over the cells that exist
    pooling = nn.AvgPool2d(3, 1, 1, count_include_pad=False) if pool == "average" else nn.MaxPool2d(3, 1, 1)
    module = InceptionBranches(
        conv(channels, direct, 1),
        nn.Sequential(conv(channels, narrow, 1), conv(narrow, one, 3)),
        nn.Sequential(conv(channels, narrow_two, 1), conv(narrow_two, two, 3), conv(two, two, 3)),
        nn.Sequential(pooling, conv(channels, behind, 1)),
    )
    return module, direct + one + two + behind
