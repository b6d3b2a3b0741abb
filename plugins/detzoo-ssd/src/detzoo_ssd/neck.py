"""SSD's extra feature layers: ever smaller maps behind a backbone's last one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from detzoo.components.backbones.padding import Padding, use_same_padding
from detzoo.errors import RecipeError
from detzoo.interfaces import Neck
from detzoo.types import FeatureMaps, FeatureSpec, FeatureSpecs
from detzoo_ssd.initialisation import Init, initialise

Layers = tuple[nn.Module, ...]


class L2Norm(nn.Module):
    """Scale every cell's channel vector to length 1, then every channel by a learned factor.

    Args:
        channels: of the map.
        scale: where the factors start; 20 in the paper.

    Source: Liu et al. 2015 (ParseNet), section 3.3; Liu et al. 2016, section 3.1. The norm is bounded below by 1e-12
    as in torchvision (Caffe adds 1e-10 under the root): equal wherever a cell is not all zeros.
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, feature: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,C,h,w]; the norm is taken in float32."""
        # float16 squares overflow above 255
        return self.weight.view(1, -1, 1, 1) * F.normalize(feature.float()).to(feature.dtype)


class SsdExtra(Neck):
    """Passes the backbone's maps on and appends smaller ones, each made from the one before.

    A layer is a 1x1 convolution to fewer channels and a 3x3 convolution, both followed by the activation; with
    ``depthwise`` the second is a 3x3 depthwise and a 1x1 convolution (SSDLite).

    Args:
        features: the backbone's maps; the last one is where the extra layers start.
        channels: outputs of each extra layer; empty for none.
        bottleneck: channels between its two convolutions, for each layer; null is half of ``channels``.
        strides: stride of each layer; null is 2 everywhere. SSD300 ends with 1, 1 (and padding 0), SSD512 with 1.
        paddings: padding of each layer's second convolution; null is 1 everywhere.
        kernels: its kernel size; null is 3 everywhere. SSD512's last is 4.
        padding: ``keras`` pads strided convolutions as TensorFlow does, at even sizes one pixel less left and above.
        l2_norm: maps to be L2-normalised before they leave, with the start of their learned scales (20 in the paper
            for conv4_3); the layers behind see the map as it was.
        depthwise: SSDLite's layers.
        norm: batch norm after every convolution, or none (then convolutions have biases).
        activation: after every convolution.
        last_activation: also after the last one of each layer; false leaves it linear, as in the inverted residuals and
            separable convolutions of qfgaohao's and lufficc's MobileNet SSDs.
        norm_eps: batch norm's; SSDLite uses 1e-3.
        norm_momentum: batch norm's; SSDLite uses 0.03.
        init: ``xavier`` or ``normal``, see detzoo_ssd.initialisation.

    Source: Liu et al. 2016, figure 2 and weiliu89/caffe AddExtraLayers; torchvision's ssd.py and ssdlite.py.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        /,
        *,
        channels: list[Annotated[int, Field(ge=1, le=8192)]],
        bottleneck: list[Annotated[int, Field(ge=1, le=8192)]] | None = None,
        strides: list[Annotated[int, Field(ge=1, le=4)]] | None = None,
        paddings: list[Annotated[int, Field(ge=0, le=3)]] | None = None,
        kernels: list[Annotated[int, Field(ge=1, le=7)]] | None = None,
        padding: Padding = "torch",
        l2_norm: dict[str, float] | None = None,
        depthwise: bool = False,
        norm: Literal["none", "batch"] = "none",
        activation: Literal["relu", "relu6"] = "relu",
        last_activation: bool = True,
        norm_eps: Annotated[float, Field(gt=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        plan = _plan(channels, bottleneck=bottleneck, strides=strides, paddings=paddings, kernels=kernels)
        for name in l2_norm or {}:
            if name not in features:
                raise RecipeError(f"l2_norm names map {name!r}; the backbone gives {', '.join(features)}.")
        conv = partial(
            _conv,
            norm=partial(nn.BatchNorm2d, eps=norm_eps, momentum=norm_momentum) if norm == "batch" else None,
            activation=nn.ReLU6 if activation == "relu6" else nn.ReLU,
        )
        self.l2_norm = nn.ModuleDict(
            {name: L2Norm(features[name].channels, scale) for name, scale in (l2_norm or {}).items()}
        )
        self.extra = nn.ModuleDict()
        self.out = dict(features)
        last = list(features.values())[-1]
        for number, (width, middle, stride, pad, kernel) in enumerate(plan, start=1):
            name = f"extra{number}"
            layer = _layer(conv, last.channels, middle, width, kernel, stride, pad, depthwise)
            self.extra[name] = layer if last_activation else layer[:-1]
            last = FeatureSpec(width, last.stride * stride, _shrunk(last.size, kernel, stride, pad, name))
            self.out[name] = last
        if padding == "keras":
            use_same_padding(self.extra)
        initialise(self.extra, init)

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """The given maps, normalised where asked for, and the extra ones."""
        out = {name: self.l2_norm[name](m) if name in self.l2_norm else m for name, m in features.items()}
        last = list(features.values())[-1]  # as it came: normalised maps are for the head alone
        for name, layer in self.extra.items():
            last = layer(last)
            out[name] = last
        return out


def _plan(
    channels: list[int],
    *,
    bottleneck: list[int] | None,
    strides: list[int] | None,
    paddings: list[int] | None,
    kernels: list[int] | None,
) -> list[tuple[int, int, int, int, int]]:
    """(channels, bottleneck, stride, padding, kernel) of each layer, defaults filled in."""
    fields = {"bottleneck": bottleneck, "strides": strides, "paddings": paddings, "kernels": kernels}
    for field, values in fields.items():
        if values is not None and len(values) != len(channels):
            raise RecipeError(
                f"{field} has {len(values)} entries, but channels asks for {len(channels)} extra layers. "
                "Give one entry for each, or null."
            )
    count = len(channels)
    return list(
        zip(
            channels,
            bottleneck or [max(1, width // 2) for width in channels],  # SSD300: 256 before 512, 128 before 256
            strides or [2] * count,
            paddings if paddings is not None else [1] * count,
            kernels or [3] * count,
            strict=True,
        )
    )


def _shrunk(size: tuple[int, int] | None, kernel: int, stride: int, padding: int, name: str) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in size)  # the convolution's own formula
    if min(height, width) < 1:
        raise RecipeError(
            f"layer {name} (kernel {kernel}, padding {padding}) would shrink a map of {size[0]}x{size[1]} to "
            "nothing. Ask for fewer layers in channels, or a larger input.size."
        )
    return height, width


def _conv(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    norm: Callable[..., nn.Module] | None,
    activation: Callable[..., nn.Module],
) -> Layers:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=norm is None)
    return (conv, activation(inplace=True)) if norm is None else (conv, norm(outputs), activation(inplace=True))


def _layer(
    conv: Callable[..., Layers],
    inputs: int,
    middle: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int,
    depthwise: bool,
) -> nn.Sequential:
    first = conv(inputs, middle, 1)
    if not depthwise:
        return nn.Sequential(*first, *conv(middle, outputs, kernel, stride=stride, padding=padding))
    spatial = conv(middle, middle, kernel, stride=stride, padding=padding, groups=middle)
    return nn.Sequential(*first, *spatial, *conv(middle, outputs, 1))
