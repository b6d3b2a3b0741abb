"""CSPDarknet and YOLOX's Darknet-53."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field
from torch import Tensor, nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.csp import Activation, CspLayer, Layers, SpatialPyramidPooling

Multiple = Annotated[float, Field(gt=0, le=4)]
_STAGES: Final = {"s4": "dark2", "s8": "dark3", "s16": "dark4", "s32": "dark5"}
"""Level -> stage that gives it, as YOLOX names the stages."""


class CspDarknet(TappedBackbone):
    """A 6x6 stem of stride 2 and four stages of CSP layers; the last one pools over neighbourhoods first.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4``, ``s8``, ``s16`` and ``s32``: 128, 256, 512 and 1,024 channels times ``width``.
        depth: multiplies the numbers of blocks (3, 9, 9, 3), at least one: 0.33 in nano, tiny and S, 0.67 in M, 1 in L,
            1.33 in X.
        width: multiplies the channels: 0.25 in nano, 0.375 in tiny, 0.5 in S, 0.75 in M, 1 in L, 1.25 in X.
        depthwise: 3x3 convolutions behind the stem are depthwise separable (nano).
        activation: behind each norm.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.

    The stem is YOLOX's "Focus", which moves each 2x2 block of pixels into channels before a 3x3 convolution: that is
    one 6x6 convolution of stride 2 with the same number of weights. The converters rearrange them.

    Source: Ge et al. 2021 (arXiv:2107.08430); Megvii-BaseDetection/YOLOX, ``CSPDarknet``.
    """

    name: ClassVar[str] = "csp_darknet"
    expects = None  # no ImageNet weights were published

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        depth: Multiple = 1.0,
        width: Multiple = 1.0,
        depthwise: bool = False,
        activation: Activation = "silu",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03,
    ) -> None:
        layers = Layers(depthwise=depthwise, activation=activation, norm_eps=norm_eps, norm_momentum=norm_momentum)
        base, blocks = int(64 * width), max(round(3 * depth), 1)
        body = nn.Module()
        body.stem = layers.plain(3, base, 6, 2)
        body.dark2 = nn.Sequential(layers.spatial(base, 2 * base, 3, 2), _mix(layers, 2 * base, blocks))
        body.dark3 = nn.Sequential(layers.spatial(2 * base, 4 * base, 3, 2), _mix(layers, 4 * base, 3 * blocks))
        body.dark4 = nn.Sequential(layers.spatial(4 * base, 8 * base, 3, 2), _mix(layers, 8 * base, 3 * blocks))
        body.dark5 = nn.Sequential(
            layers.spatial(8 * base, 16 * base, 3, 2),
            SpatialPyramidPooling(layers, 16 * base, 16 * base),
            CspLayer(layers, 16 * base, 16 * base, depth=blocks, residual=False),
        )
        super().__init__(
            body, steps=["stem", *_STAGES.values()], taps=_taps(_STAGES), levels=levels, input_size=input_size
        )


class Darknet53(TappedBackbone):
    """YOLOv3's backbone, with spatial pyramid pooling behind its last stage.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4``, ``s8``, ``s16`` and ``s32``: 128, 256, 512 and 512 channels times ``width``.
        width: multiplies the channels.
        activation: behind each norm: ``leaky_relu``.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.

    Source: Redmon and Farhadi 2018 (arXiv:1804.02767), table 1; Megvii-BaseDetection/YOLOX, ``Darknet``, whose last
    stage ends with 512 channels in place of 1,024.
    """

    name: ClassVar[str] = "darknet53_spp"
    expects = None

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        width: Multiple = 1.0,
        activation: Activation = "leaky_relu",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-3,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03,
    ) -> None:
        layers = Layers(activation=activation, norm_eps=norm_eps, norm_momentum=norm_momentum)
        base = int(32 * width)
        body = nn.Module()
        body.stem = nn.Sequential(layers.plain(3, base, 3), *_residual_stage(layers, base, 1))
        body.dark2 = nn.Sequential(*_residual_stage(layers, 2 * base, 2))
        body.dark3 = nn.Sequential(*_residual_stage(layers, 4 * base, 8))
        body.dark4 = nn.Sequential(*_residual_stage(layers, 8 * base, 8))
        body.dark5 = nn.Sequential(*_residual_stage(layers, 16 * base, 4), *_pooled(layers, 32 * base, 16 * base))
        super().__init__(
            body, steps=["stem", *_STAGES.values()], taps=_taps(_STAGES), levels=levels, input_size=input_size
        )


def _taps(stages: dict[str, str]) -> dict[str, Tap]:
    return {level: Tap(stage, float(level[1:])) for level, stage in stages.items()}


def _mix(layers: Layers, channels: int, depth: int) -> CspLayer:
    return CspLayer(layers, channels, channels, depth=depth)


class HalvingBlock(nn.Module):
    """1x1 to half the channels, 3x3 back to all, added to the input.

    Source: YOLOv3, table 1; YOLOX ``ResLayer``.
    """

    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.first = layers.plain(channels, channels // 2)
        self.second = layers.plain(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] of the same shape."""
        seen: Tensor = self.second(self.first(x))
        return x + seen


def _residual_stage(layers: Layers, inputs: int, depth: int) -> list[nn.Module]:
    halve = layers.plain(inputs, 2 * inputs, 3, 2)
    return [halve, *(HalvingBlock(layers, 2 * inputs) for _ in range(depth))]


def _pooled(layers: Layers, wide: int, narrow: int) -> list[nn.Module]:
    """Five steps between ``wide`` and ``narrow`` channels, the third of which pools."""
    return [
        layers.plain(wide, narrow),
        layers.plain(narrow, wide, 3),
        SpatialPyramidPooling(layers, wide, narrow),
        layers.plain(narrow, wide, 3),
        layers.plain(wide, narrow),
    ]
