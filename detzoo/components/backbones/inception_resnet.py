"""Inception-ResNet v2 out of timm, with the paddings and the dilation of TensorFlow's detectors."""

from __future__ import annotations

from typing import ClassVar, Final

from torch import nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.timm import import_timm
from detzoo.interfaces import Normalisation

INCEPTION: Final = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Pixels in [-1,1], as TensorFlow's Inception and NASNet weights want them."""

_ORDER: Final = (
    *("conv2d_1a", "conv2d_2a", "conv2d_2b", "maxpool_3a", "conv2d_3b", "conv2d_4a", "maxpool_5a"),
    *("mixed_5b", "repeat", "mixed_6a", "repeat_1", "mixed_7a", "repeat_2", "block8", "conv2d_7b"),
)
_TAPS: Final = {
    "s2": Tap("conv2d_2b", 2),
    "s4": Tap("conv2d_4a", 4),
    "s8": Tap("repeat", 8),
    "s16": Tap("repeat_1", 16),
    "s32": Tap("conv2d_7b", 32),
}
_DILATED: Final = {"s8_dilated": Tap("repeat_1", 8)}


class InceptionResNetV2(TappedBackbone):
    """Inception-ResNet v2. Needs the extra ``detzoo[timm]``, whose layers these are; timm's state dict loads.

    The classifier leaves the border of its maps unpadded, so that cells drift away from the pixels that they see: 600
    px become 35 cells at stride 16. Detectors pad every layer (slim's ``align_feature_maps``), and so does this.

    Source: Szegedy et al. 2017 (arXiv:1602.07261); TensorFlow's slim, ``inception_resnet_v2_base`` with
    ``align_feature_maps=True`` and, ``dilated``, ``output_stride=8``. Strided layers are padded evenly where
    TensorFlow's SAME puts the odd pixel right and below.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (conv2d_2b, 64 channels), ``s4`` (conv2d_4a, 192), ``s8`` (repeat: ten block35, 320), ``s16``
            (repeat_1: twenty block17, 1088: the map of TensorFlow's Faster R-CNN), ``s32`` (conv2d_7b, 1536).
        dilated: mixed_6a keeps stride 8 and the 1x7 and 7x1 convolutions of repeat_1 are dilated by 2 ("atrous"); the
            level ``s8_dilated`` takes the place of ``s16`` and is the last.
    """

    name: ClassVar[str] = "inception_resnet_v2"
    expects = INCEPTION

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        dilated: bool = False,
    ) -> None:
        body = import_timm("backbone inception_resnet_v2").create_model("inception_resnet_v2", pretrained=False)
        _pad(body)  # slim's align_feature_maps
        taps = _TAPS
        if dilated:
            _dilate(body)
            taps = {k: v for k, v in _TAPS.items() if k not in ("s16", "s32")} | _DILATED
        super().__init__(body, steps=_ORDER, taps=taps, levels=levels, input_size=input_size)


def inception_resnet_v2_tail() -> nn.Sequential:
    """What comes behind the map of stride 16, unpadded as in the classifier: [R,1088,17,17] -> [R,1536,8,8]."""
    body = import_timm("head roi_box_tail").create_model("inception_resnet_v2", pretrained=False)
    tail = nn.Sequential()
    for name in _ORDER[_ORDER.index("mixed_7a") :]:
        tail.add_module(name, body.get_submodule(name))
    return tail


def _pad(body: nn.Module) -> None:
    """Pad every layer by half of its kernel, so that a map has as many cells as strides fit into the image."""
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding = (layer.kernel_size[0] // 2, layer.kernel_size[1] // 2)
        elif isinstance(layer, nn.MaxPool2d):
            layer.padding = 1


def _dilate(body: nn.Module) -> None:
    """Take the stride out of mixed_6a and put dilation into repeat_1, which keeps its field of view."""
    for layer in body.get_submodule("mixed_6a").modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.stride = (1, 1)
    for layer in body.get_submodule("repeat_1").modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            layer.dilation = (2, 2)
            layer.padding = (layer.kernel_size[0] // 2 * 2, layer.kernel_size[1] // 2 * 2)  # half of the dilated kernel
