"""ShuffleNet v2."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import torchvision
from pydantic import Field
from torch import nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.components.backbones.replacing import replace_layers

_BUILDERS: Final = {
    "x0_5": torchvision.models.shufflenet_v2_x0_5,
    "x1_0": torchvision.models.shufflenet_v2_x1_0,
    "x1_5": torchvision.models.shufflenet_v2_x1_5,
    "x2_0": torchvision.models.shufflenet_v2_x2_0,
}


class ShuffleNetV2(TappedBackbone):
    """ShuffleNet v2: half of the channels pass each block untouched, and are shuffled with the others behind it.

    Source: Ma et al. 2018 (arXiv:1807.11164), table 5; torchvision.models.shufflenet_v2_x1_0 and its other widths,
    whose state dicts load.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s2`` (conv1, 24 channels), ``s4`` (maxpool, 24), ``s8`` (stage2; 116 channels at ``x1_0``),
            ``s16`` (stage3, 232), ``s32`` (stage4, 464; with ``last_conv`` conv5, 1024).
        width: the paper's four, as torchvision names them: half, once, one and a half times, twice.
        last_conv: end with the 1x1 convolution to 1024 channels (2048 at ``x2_0``).
        activation: ``relu`` (paper, torchvision), or ``leaky_relu`` of slope 0.1 (NanoDet).
        norm: batch norms.
        norm_eps: of the batch norms.
        norm_momentum: share of the new batch in the running statistics.
    """

    name: ClassVar[str] = "shufflenet_v2"

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        width: Literal["x0_5", "x1_0", "x1_5", "x2_0"] = "x1_0",
        last_conv: bool = False,
        activation: Literal["relu", "leaky_relu"] = "relu",
        norm: Norm = "batch",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        body = _BUILDERS[width]()
        norms = norm_factory(norm, eps=norm_eps, momentum=norm_momentum)
        replace_layers(body, nn.BatchNorm2d, lambda old: norms(old.num_features))
        if activation == "leaky_relu":
            replace_layers(body, nn.ReLU, lambda old: nn.LeakyReLU(0.1, inplace=True))
        super().__init__(
            body,
            steps=("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"),
            taps={
                "s2": Tap("conv1", 2),
                "s4": Tap("maxpool", 4),
                "s8": Tap("stage2", 8),
                "s16": Tap("stage3", 16),
                "s32": Tap("conv5" if last_conv else "stage4", 32),
            },
            levels=levels,
            input_size=input_size,
        )
