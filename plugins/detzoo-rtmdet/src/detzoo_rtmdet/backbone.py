"""CSPNeXt: RTMDet's backbone."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field
from torch import Tensor, nn

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.csp import Activation, CspLayer, Layers, SpatialPyramidPooling
from detzoo.components.csp_names import MMDETECTION
from detzoo.interfaces import Normalisation
from detzoo.ops.state_dict import by_modules

Multiple = Annotated[float, Field(gt=0, le=4)]
TAPS: Final = {"s4": Tap("stage1", 4), "s8": Tap("stage2", 8), "s16": Tap("stage3", 16), "s32": Tap("stage4", 32)}
"""Level -> stage that gives it, as mmdetection names the stages."""
BLOCKS: Final = (3, 6, 6, 3)
"""Of each stage, before they are multiplied."""


class CspNext(TappedBackbone):
    """Three 3x3 convolutions and four stages of CSP layers with 5x5 depthwise convolutions and channel attention.

    The last stage pools over neighbourhoods first, and its blocks are not added to their inputs.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4``, ``s8``, ``s16`` and ``s32``: 128, 256, 512 and 1,024 channels times ``width``.
        depth: multiplies the numbers of blocks (3, 6, 6, 3), at least one: 0.167 in tiny, 0.33 in S, 0.67 in M, 1 in L.
        width: multiplies the channels: 0.375 in tiny, 0.5 in S, 0.75 in M, 1 in L.
        depthwise: 3x3 convolutions behind the stem are depthwise separable.
        attention: whether channels are weighted at the end of each stage.
        activation: behind each norm.
        norm_eps: of batch norms.
        norm_momentum: share of the new batch in their running statistics.

    Source: Lyu et al. 2022 (arXiv:2212.07784), section 3.2 and table 1; mmdetection 3.3, ``CSPNeXt``.
    """

    name: ClassVar[str] = "csp_next"
    expects = Normalisation((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), "bgr", 255)  # of OpenMMLab's files

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        depth: Multiple = 1.0,
        width: Multiple = 1.0,
        depthwise: bool = False,
        attention: bool = True,
        activation: Activation = "silu",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        layers = Layers(depthwise=depthwise, activation=activation, norm_eps=norm_eps, norm_momentum=norm_momentum)
        half, base = int(64 * width // 2), int(64 * width)
        body = nn.Module()
        body.stem = nn.Sequential(layers.plain(3, half, 3, 2), layers.plain(half, half, 3), layers.plain(half, base, 3))
        inputs = base
        for row, blocks in enumerate(BLOCKS):
            outputs, last = int(128 * 2**row * width), row == len(BLOCKS) - 1
            stage: list[nn.Module] = [layers.spatial(inputs, outputs, 3, 2)]
            if last:
                stage.append(SpatialPyramidPooling(layers, outputs, outputs))
            stage.append(
                CspLayer(
                    layers,
                    outputs,
                    outputs,
                    depth=max(round(blocks * depth), 1),
                    block="large_kernel",
                    residual=not last,
                    attention=attention,
                )
            )
            body.add_module(f"stage{row + 1}", nn.Sequential(*stage))
            inputs = outputs
        super().__init__(
            body,
            steps=["stem", *(tap.step for tap in TAPS.values())],
            taps=TAPS,
            levels=levels,
            input_size=input_size,
            absent=["head"],
        )

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """OpenMMLab's names, as its ``cspnext-*_imagenet_600e.pth`` have them, in ours."""
        return {by_modules(MMDETECTION, key, self.body): value for key, value in state.items()}
