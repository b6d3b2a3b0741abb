"""AlexNet."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone


class AlexNet(TappedBackbone):
    """AlexNet as torchvision has it: one column, no groups, no local response normalisation.

    Source: Krizhevsky 2014 (arXiv:1404.5997); torchvision.models.alexnet, whose state dict loads. R-CNN's CaffeNet is
    another network. Its poolings are not padded: maps are a little smaller than input / stride.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4`` (relu1 = features.1, 64 channels), ``s8`` (relu2 = features.4, 192), ``s16`` (relu5 =
            features.11, 256), ``s32`` (pool5 = features.12, 256).
    """

    name: ClassVar[str] = "alexnet"
    fully_connected = ("classifier.1", "classifier.4")
    pooled = 6

    def __init__(
        self, input_size: tuple[int, int] | None = None, /, *, levels: tuple[str, ...] = ("s8", "s16", "s32")
    ) -> None:
        body = nn.Module()
        body.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )  # fmt: skip
        super().__init__(
            body,
            steps=[f"features.{i}" for i in range(13)],
            taps={
                "s4": Tap("features.1", 4),
                "s8": Tap("features.4", 8),
                "s16": Tap("features.11", 16),
                "s32": Tap("features.12", 32),
            },
            levels=levels,
            input_size=input_size,
            absent=("classifier",),
        )
