"""SqueezeNet 1.1."""

from __future__ import annotations

from typing import ClassVar

import torchvision

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone


class SqueezeNet11(TappedBackbone):
    """SqueezeNet 1.1: fire modules, no batch norm.

    Source: Iandola et al. 2016 (arXiv:1602.07360) and its v1.1 release; torchvision.models.squeezenet1_1, whose state
    dict loads. Nothing in it reaches stride 32, and its first convolution and poolings are not padded.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.1, 64 channels), ``s4`` (features.4, 128), ``s8`` (features.7, 256), ``s16``
            (features.12, 512).
    """

    name: ClassVar[str] = "squeezenet1_1"

    def __init__(
        self, input_size: tuple[int, int] | None = None, /, *, levels: tuple[str, ...] = ("s8", "s16")
    ) -> None:
        last = {"s2": (1, 2), "s4": (4, 4), "s8": (7, 8), "s16": (12, 16)}
        super().__init__(
            torchvision.models.squeezenet1_1(),
            steps=[f"features.{i}" for i in range(13)],
            taps={name: Tap(f"features.{i}", stride) for name, (i, stride) in last.items()},
            levels=levels,
            input_size=input_size,
        )
