"""VGG16, as it was published."""

from __future__ import annotations

from typing import Literal

from torch import nn
from torchvision.models.vgg import make_layers

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.weights.normalisation import CAFFE, IMAGENET


class Vgg16(TappedBackbone):
    """VGG16, the plain convolutional part. SSD's variant (pool3 ceil, pool5 3x3, fc6 and fc7 dilated) is another.

    Source: Simonyan and Zisserman 2015 (arXiv:1409.1556), configuration D; torchvision.models.vgg16, whose state dict
    loads.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s1`` (relu1_2 = features.3, 64 channels), ``s2`` (relu2_2 = features.8, 128), ``s4`` (relu3_3 =
            features.15, 256), ``s8`` (relu4_3 = features.22, 512), ``s16`` (relu5_3 = features.29, 512), ``s32`` (pool5
            = features.30, 512).
        weights_from: whose weights ``weights`` holds, which decides the normalisation that is asked of the input:
            ``torchvision``; or ``caffe``: the authors' own under torchvision's names (BGR, 0..255, mean only).
    """

    fully_connected = ("classifier.0", "classifier.3")
    pooled = 7

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        weights_from: Literal["torchvision", "caffe"] = "torchvision",
    ) -> None:
        body = nn.Module()
        table: list[int | str] = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M"]
        table += [512, 512, 512, "M"] * 2
        body.features = make_layers(table)  # without the classifier: its 124 million weights would be unused
        _initialise(body)
        last = {"s1": (3, 1), "s2": (8, 2), "s4": (15, 4), "s8": (22, 8), "s16": (29, 16), "s32": (30, 32)}
        super().__init__(
            body,
            steps=[f"features.{i}" for i in range(31)],
            taps={name: Tap(f"features.{i}", stride) for name, (i, stride) in last.items()},
            levels=levels,
            input_size=input_size,
            absent=("classifier",),
        )
        self.expects = CAFFE if weights_from == "caffe" else IMAGENET


def _initialise(body: nn.Module) -> None:
    """As torchvision initialises VGG."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
