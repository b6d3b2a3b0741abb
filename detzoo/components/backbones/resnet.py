"""ResNet 18, 34, 50, 101 and ResNeXt 50."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import torchvision
from pydantic import Field
from torch import nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.weights.normalisation import CAFFE, IMAGENET

Eps = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(gt=0, le=1)]

_STEPS: Final = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_TAPS: Final = {
    "s2": Tap("relu", 2),
    "s4": Tap("layer1", 4),
    "s8": Tap("layer2", 8),
    "s16": Tap("layer3", 16),
    "s32": Tap("layer4", 32),
}
_DILATED: Final = {"s16_dilated": Tap("layer4", 16)}
_DILATED_TWICE: Final = {"s8_dilated": Tap("layer3", 8), "s8_dilated_4": Tap("layer4", 8)}
Dilated: TypeAlias = bool | Literal["twice"]


class _BasicResNet(TappedBackbone):
    """ResNet of basic blocks: two 3x3 convolutions.

    Source: He et al. 2016 (arXiv:1512.03385); torchvision's model of the same name, whose state dict loads.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (the first ReLU, 64 channels), ``s4`` (layer1, 64), ``s8`` (layer2, 128), ``s16`` (layer3,
            256), ``s32`` (layer4, 512).
        norm: ``frozen`` where statistics and affine part are constants, as torchvision's pretrained detectors have it.
        norm_eps: torchvision's COCO detectors with frozen norms were trained with 0.
        norm_momentum: share of the new batch in the running statistics.
    """

    builder: ClassVar[str]

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        norm: Norm = "batch",
        norm_eps: Eps = 1e-5,
        norm_momentum: Momentum = 0.1,
    ) -> None:
        factory = norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        body = getattr(torchvision.models, self.builder)(norm_layer=factory)
        super().__init__(body, steps=_STEPS, taps=_TAPS, levels=levels, input_size=input_size)


class ResNet18(_BasicResNet):
    """ResNet-18."""

    name: ClassVar[str] = "resnet18"
    builder = "resnet18"


class ResNet34(_BasicResNet):
    """ResNet-34."""

    name: ClassVar[str] = "resnet34"
    builder = "resnet34"


class _BottleneckResNet(TappedBackbone):
    """ResNet of bottleneck blocks: 1x1, 3x3, 1x1.

    Source: He et al. 2016 (arXiv:1512.03385), Xie et al. 2017 (arXiv:1611.05431) for ResNeXt; torchvision's model of
    the same name, whose state dict loads.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (the first ReLU, 64 channels), ``s4`` (layer1, 256), ``s8`` (layer2, 512), ``s16`` (layer3,
            1024), ``s32`` (layer4, 2048).
        stride_in: the convolution of a stage's first block that strides: ``3x3`` (torchvision, "v1.5") or ``1x1`` (the
            paper, Caffe's and Detectron's weights). Keys and shapes are equal, outputs are not. ``1x1`` also asks
            for the normalisation of Caffe's weights: BGR, 0..255, mean only.
        dilated: layer4 keeps stride 16 and all of its 3x3 convolutions are dilated by 2, as R-FCN has them; the level
            ``s16_dilated`` takes the place of ``s32``. torchvision's ``replace_stride_with_dilation`` leaves the first
            of the three undilated. ``twice``: layer3 keeps stride 8 too, dilated by 2, and layer4 is dilated by 4
            ("atrous" in TensorFlow's zoo); ``s8_dilated`` and ``s8_dilated_4`` take the places of ``s16`` and ``s32``.
        norm: ``frozen`` where statistics and affine part are constants, as torchvision's pretrained detectors have it.
        norm_eps: torchvision's COCO detectors with frozen norms were trained with 0.
        norm_momentum: share of the new batch in the running statistics.
    """

    builder: ClassVar[str]

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        stride_in: Literal["1x1", "3x3"] = "3x3",
        dilated: Dilated = False,
        norm: Norm = "batch",
        norm_eps: Eps = 1e-5,
        norm_momentum: Momentum = 0.1,
    ) -> None:
        factory = norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        body = getattr(torchvision.models, self.builder)(norm_layer=factory)
        if stride_in == "1x1":  # Caffe's and Detectron's pretrained weights
            _stride_first(body)
        taps = _TAPS
        if dilated == "twice":
            _dilate(body.get_submodule("layer3"), 2)
            _dilate(body.get_submodule("layer4"), 4)
            taps = {k: v for k, v in _TAPS.items() if k not in ("s16", "s32")} | _DILATED_TWICE
        elif dilated:
            _dilate(body.get_submodule("layer4"), 2)
            taps = {k: v for k, v in _TAPS.items() if k != "s32"} | _DILATED
        super().__init__(body, steps=_STEPS, taps=taps, levels=levels, input_size=input_size)
        self.expects = CAFFE if stride_in == "1x1" else IMAGENET  # such weights come from Caffe: BGR, 0..255, mean only


class ResNet50(_BottleneckResNet):
    """ResNet-50."""

    name: ClassVar[str] = "resnet50"
    builder = "resnet50"


class ResNet101(_BottleneckResNet):
    """ResNet-101."""

    name: ClassVar[str] = "resnet101"
    builder = "resnet101"


class ResNeXt50(_BottleneckResNet):
    """ResNeXt-50, 32 groups of 4 channels."""

    name: ClassVar[str] = "resnext50"
    builder = "resnext50_32x4d"


def _stride_first(body: nn.Module) -> None:
    """Move the stride of each stage's first block from its 3x3 to its 1x1 convolution."""
    for stage in ("layer2", "layer3", "layer4"):
        first = body.get_submodule(f"{stage}.0")
        conv1, conv2 = first.get_submodule("conv1"), first.get_submodule("conv2")
        if isinstance(conv1, nn.Conv2d) and isinstance(conv2, nn.Conv2d):
            conv1.stride, conv2.stride = conv2.stride, conv1.stride  # same keys and shapes: only the outputs differ


def _dilate(stage: nn.Module, rate: int) -> None:
    """Take the stride out of a stage and put dilation into its 3x3 convolutions, which keeps their field of view."""
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)  # the shortcut's 1x1 too, or the two branches would not add up
            if layer.kernel_size == (3, 3):
                layer.dilation, layer.padding = (rate, rate), (rate, rate)
