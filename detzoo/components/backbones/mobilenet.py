"""MobileNet v1, v2 and v3."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torchvision
from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.components.backbones.padding import Padding, use_same_padding

Width = Annotated[float, Field(gt=0, le=4)]
Eps = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(gt=0, le=1)]


class MobileNetV1(TappedBackbone):
    """MobileNet v1: depthwise separable convolutions.

    Source: Howard et al. 2017 (arXiv:1704.04861), table 1. ``features.0`` is the first convolution, ``features.N`` the
    N-th separable one: depthwise (``.0``), then pointwise (``.1``). torchvision has no v1, so there is no published
    state dict with these names.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (conv 1, 64 channels), ``s4`` (3, 128), ``s8`` (5, 256), ``s16`` (11, 512: the SSD tap
            conv_pw_11), ``s32`` (13, 1024: conv_pw_13).
        width: multiplies every number of channels, at least 8.
        padding: ``keras`` for weights trained in TensorFlow.
        activation: ``relu6`` (TensorFlow) or ``relu`` (Caffe ports).
        norm: batch norms.
        norm_eps: TensorFlow's detection configs and Keras: 1e-3.
        norm_momentum: share of the new batch in the running statistics.
    """

    name: ClassVar[str] = "mobilenet_v1"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        width: Width = 1.0,
        padding: Padding = "torch",
        activation: Literal["relu6", "relu"] = "relu6",
        norm: Norm = "batch",
        norm_eps: Eps = 1e-3,
        norm_momentum: Momentum = 0.01,  # torch's momentum is 1 - decay
    ) -> None:
        layer: dict[str, Any] = {
            "norm_layer": norm_factory(norm, eps=norm_eps, momentum=norm_momentum),
            "activation_layer": nn.ReLU6 if activation == "relu6" else nn.ReLU,
        }
        body = nn.Module()
        body.features = _separable_chain(width, layer)
        _initialise(body)
        if padding == "keras":
            use_same_padding(body)
        last = {"s2": (1, 2), "s4": (3, 4), "s8": (5, 8), "s16": (11, 16), "s32": (13, 32)}
        super().__init__(
            body,
            steps=[f"features.{i}" for i in range(14)],
            taps={name: Tap(f"features.{i}", stride) for name, (i, stride) in last.items()},
            levels=levels,
            input_size=input_size,
        )


def _separable_chain(width: float, layer: dict[str, Any]) -> nn.Sequential:
    """The 14 convolutions of table 1: output channels and stride of each."""
    table = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    channels = max(8, int(32 * width))  # TensorFlow's min_depth
    chain: list[nn.Module] = [Conv2dNormActivation(3, channels, 3, 2, **layer)]
    for wide, stride in table:
        out = max(8, int(wide * width))
        depthwise = Conv2dNormActivation(channels, channels, 3, stride, groups=channels, **layer)
        chain.append(nn.Sequential(depthwise, Conv2dNormActivation(channels, out, 1, **layer)))
        channels = out
    return nn.Sequential(*chain)


def _initialise(body: nn.Module) -> None:
    """As torchvision initialises its MobileNets."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")


class MobileNetV2(TappedBackbone):
    """MobileNet v2: inverted residuals with linear bottlenecks.

    Source: Sandler et al. 2018 (arXiv:1801.04381); torchvision.models.mobilenet_v2, whose state dict loads. Keras' and
    TensorFlow's weights need ``padding: keras``: with torchvision's padding the network at hand loses nine points of
    top-1.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.1, 16 channels), ``s4`` (features.3, 24), ``s8`` (features.6, 32), ``s8_expand``
            (expansion of features.7, 192), ``s16`` (features.13, 96), ``s16_expand`` (expansion of features.14, 576:
            the first SSD tap of TensorFlow's models), ``s32`` (features.17, 320; with ``last_conv`` features.18, 1280:
            the second).
        width: width multiplier.
        padding: ``keras`` for weights trained in TensorFlow or Keras.
        last_conv: end with the 1x1 convolution to 1280 channels.
        norm: batch norms.
        norm_eps: torchvision 1e-5, TensorFlow and Keras 1e-3.
        norm_momentum: share of the new batch in the running statistics.
    """

    name: ClassVar[str] = "mobilenet_v2"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        width: Width = 1.0,
        padding: Padding = "torch",
        last_conv: bool = False,
        norm: Norm = "batch",
        norm_eps: Eps = 1e-5,
        norm_momentum: Momentum = 0.1,
    ) -> None:
        body = torchvision.models.mobilenet_v2(
            width_mult=width, norm_layer=norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        )
        if padding == "keras":
            use_same_padding(body)
        super().__init__(
            body,
            # both blocks have stride 2, so no shortcut goes round their layers
            steps=_split([f"features.{i}" for i in range(19)], {"features.7": "conv", "features.14": "conv"}, body),
            taps={
                "s2": Tap("features.1", 2),
                "s4": Tap("features.3", 4),
                "s8": Tap("features.6", 8),
                "s8_expand": Tap("features.7.conv.0", 8),
                "s16": Tap("features.13", 16),
                "s16_expand": Tap("features.14.conv.0", 16),
                "s32": Tap("features.18" if last_conv else "features.17", 32),
            },
            levels=levels,
            input_size=input_size,
        )


class MobileNetV3Large(TappedBackbone):
    """MobileNet v3, large.

    Source: Howard et al. 2019 (arXiv:1905.02244); torchvision.models.mobilenet_v3_large, whose state dict loads.
    torchvision's SSDLite320 is ``levels: [s16_expand, s32], last_conv: true, norm_momentum: 0.03``, with
    ``reduced_tail: true, init_std: 0.03`` unless its backbone came with ImageNet weights.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.1, 16 channels), ``s4`` (features.3, 24), ``s8`` (features.6, 40), ``s16``
            (features.12, 112), ``s16_expand`` (expansion of features.13, 672), ``s32_first`` (features.13, 160: the tap
            of torchvision's Faster R-CNN), ``s32`` (features.15, 160; with ``last_conv`` features.16, 960). A reduced
            tail halves the last two.
        width: width multiplier.
        padding: ``keras`` for weights trained in TensorFlow or Keras.
        last_conv: end with the 1x1 convolution to 960 channels.
        reduced_tail: half the channels after C4 (section 6.3).
        norm: batch norms.
        norm_eps: of the batch norms.
        norm_momentum: share of the new batch in the running statistics.
        init_std: draw all convolutions from a normal distribution of this width instead of He's; null for He's.
    """

    name: ClassVar[str] = "mobilenet_v3_large"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        width: Width = 1.0,
        padding: Padding = "torch",
        last_conv: bool = False,
        reduced_tail: bool = False,
        norm: Norm = "batch",
        norm_eps: Eps = 1e-3,
        norm_momentum: Momentum = 0.01,
        init_std: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        body = torchvision.models.mobilenet_v3_large(
            width_mult=width,
            reduced_tail=reduced_tail,
            norm_layer=norm_factory(norm, eps=norm_eps, momentum=norm_momentum),
        )
        _finish(body, padding, init_std)
        super().__init__(
            body,
            # stride 2: no shortcut goes round its layers
            steps=_split([f"features.{i}" for i in range(17)], {"features.13": "block"}, body),
            taps={
                "s2": Tap("features.1", 2),
                "s4": Tap("features.3", 4),
                "s8": Tap("features.6", 8),
                "s16": Tap("features.12", 16),
                "s16_expand": Tap("features.13.block.0", 16),
                "s32_first": Tap("features.13.block.3", 32),
                "s32": Tap("features.16" if last_conv else "features.15", 32),
            },
            levels=levels,
            input_size=input_size,
        )


class MobileNetV3Small(TappedBackbone):
    """MobileNet v3, small.

    Source: Howard et al. 2019 (arXiv:1905.02244); torchvision.models.mobilenet_v3_small, whose state dict loads.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.0, 16 channels), ``s4`` (features.1, 16), ``s8`` (features.3, 24), ``s16``
            (features.8, 48), ``s16_expand`` (expansion of features.9, 288), ``s32_first`` (features.9, 96), ``s32``
            (features.11, 96; with ``last_conv`` features.12, 576). A reduced tail halves the last two.
        width: width multiplier.
        padding: ``keras`` for weights trained in TensorFlow or Keras.
        last_conv: end with the 1x1 convolution to 576 channels.
        reduced_tail: half the channels after C4 (section 6.3).
        norm: batch norms.
        norm_eps: of the batch norms.
        norm_momentum: share of the new batch in the running statistics.
        init_std: draw all convolutions from a normal distribution of this width instead of He's; null for He's.
    """

    name: ClassVar[str] = "mobilenet_v3_small"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        width: Width = 1.0,
        padding: Padding = "torch",
        last_conv: bool = False,
        reduced_tail: bool = False,
        norm: Norm = "batch",
        norm_eps: Eps = 1e-3,
        norm_momentum: Momentum = 0.01,
        init_std: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        body = torchvision.models.mobilenet_v3_small(
            width_mult=width,
            reduced_tail=reduced_tail,
            norm_layer=norm_factory(norm, eps=norm_eps, momentum=norm_momentum),
        )
        _finish(body, padding, init_std)
        super().__init__(
            body,
            # stride 2: no shortcut goes round its layers
            steps=_split([f"features.{i}" for i in range(13)], {"features.9": "block"}, body),
            taps={
                "s2": Tap("features.0", 2),
                "s4": Tap("features.1", 4),
                "s8": Tap("features.3", 8),
                "s16": Tap("features.8", 16),
                "s16_expand": Tap("features.9.block.0", 16),
                "s32_first": Tap("features.9.block.3", 32),
                "s32": Tap("features.12" if last_conv else "features.11", 32),
            },
            levels=levels,
            input_size=input_size,
        )


def _split(steps: list[str], blocks: dict[str, str], body: nn.Module) -> list[str]:
    """Replace blocks that have no shortcut by their own layers, so that the expansion inside can be tapped."""
    split: list[str] = []
    for step in steps:
        if step in blocks:
            inner = f"{step}.{blocks[step]}"
            split += [f"{inner}.{name}" for name, _ in body.get_submodule(inner).named_children()]
        else:
            split.append(step)
    return split


def _finish(body: nn.Module, padding: Padding, init_std: float | None) -> None:
    if init_std is not None:
        for module in body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=init_std)  # torchvision's SSDLite: 0.03
                if isinstance(module.bias, Tensor):
                    nn.init.zeros_(module.bias)
    if padding == "keras":
        use_same_padding(body)
