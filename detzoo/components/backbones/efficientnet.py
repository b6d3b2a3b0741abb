"""EfficientNet-B0."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torchvision
from pydantic import Field

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.components.backbones.padding import Padding, use_same_padding


class EfficientNetB0(TappedBackbone):
    """EfficientNet-B0.

    Source: Tan and Le 2019 (arXiv:1905.11946); torchvision.models.efficientnet_b0, whose state dict loads.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (features.1, 16 channels), ``s4`` (features.2, 24), ``s8`` (features.3, 40), ``s16``
            (features.5, 112), ``s32`` (features.7, 320; with ``last_conv`` features.8, 1280).
        padding: ``keras`` for weights trained in TensorFlow or Keras.
        last_conv: end with the 1x1 convolution to 1280 channels.
        stochastic_depth: probability that the last block is skipped in training; earlier ones less, linearly.
        norm: batch norms.
        norm_eps: torchvision 1e-5; TensorFlow and Keras 1e-3.
        norm_momentum: share of the new batch in the running statistics.
    """

    name: ClassVar[str] = "efficientnet_b0"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        padding: Padding = "torch",
        last_conv: bool = False,
        stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.2,
        norm: Norm = "batch",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        factory = norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        body = torchvision.models.efficientnet_b0(norm_layer=factory, stochastic_depth_prob=stochastic_depth)
        if padding == "keras":
            use_same_padding(body)
        last = {"s2": (1, 2), "s4": (2, 4), "s8": (3, 8), "s16": (5, 16), "s32": (8 if last_conv else 7, 32)}
        super().__init__(
            body,
            steps=[f"features.{i}" for i in range(9)],
            taps={name: Tap(f"features.{i}", stride) for name, (i, stride) in last.items()},
            levels=levels,
            input_size=input_size,
        )
