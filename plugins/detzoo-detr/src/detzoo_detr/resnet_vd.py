"""ResNet-vd: the backbones of RT-DETR.

Letters: B images, C channels, h w cells.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone
from detzoo.components.backbones.freeze import Norm, norm_factory
from detzoo.interfaces import Normalisation
from detzoo.ops.state_dict import Rules, by_rules

TAPS: Final = {"s4": Tap("stage1", 4), "s8": Tap("stage2", 8), "s16": Tap("stage3", 16), "s32": Tap("stage4", 32)}
BLOCKS: Final = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Depth -> blocks of each stage."""
BOTTLENECK: Final = 4
"""Channels that leave a bottleneck block, in channels of its 3x3 convolution."""
RELEASE: Final[Rules] = (
    (r"conv1\.conv1_1\.(.+)", r"stem.0.\1"),
    (r"conv1\.conv1_2\.(.+)", r"stem.1.\1"),
    (r"conv1\.conv1_3\.(.+)", r"stem.2.\1"),
    *(
        (
            rf"res_layers\.{row}\.blocks\.(\d+)\.{theirs}\.(?:conv\.)?((?:conv|norm)\..+)",
            rf"stage{row + 1}.\1.{ours}.\2",
        )
        for row in range(4)
        for theirs, ours in (("branch2a", "main.0"), ("branch2b", "main.1"), ("branch2c", "main.2"), ("short", "short"))
    ),
)
"""Names of RT-DETR's release, ``PResNet``, whose ImageNet files come from PaddlePaddle."""


class ResNetVd(TappedBackbone):
    """ResNet whose stem is three 3x3 convolutions, and whose shortcuts average before they stride.

    The first block of every stage has a convolution in its shortcut, in ResNet-18 and 34's first stage too.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4``, ``s8``, ``s16`` and ``s32``: 64, 128, 256 and 512 channels in 18 and 34 layers, four times as
            many in 50 and 101.
        depth: number of layers.
        norm: ``frozen`` where statistics and affine part are constants (RT-DETR's R50, R101); R18 and R34 train them.
        norm_eps: of the norms.
        norm_momentum: share of the new batch in the running statistics.

    RT-DETR gives it pixels in 0..1 without mean and deviation, though its ImageNet files were trained with them; so
    ``expects`` is open.

    Source: He et al. 2019 (arXiv:1812.01187), figure 2, model D with model C's stem; PaddleClas ``ResNet_vd``;
    RT-DETR's ``PResNet`` (variant d).
    """

    name: ClassVar[str] = "resnet_vd"
    expects: Normalisation | None = None

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: tuple[str, ...] = ("s8", "s16", "s32"),
        depth: Literal[18, 34, 50, 101] = 50,
        norm: Norm = "frozen",
        norm_eps: Annotated[float, Field(ge=0)] = 1e-5,
        norm_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
    ) -> None:
        unit = partial(Conv2dNormActivation, norm_layer=norm_factory(norm, eps=norm_eps, momentum=norm_momentum))
        body = nn.Module()
        body.stem = nn.Sequential(
            unit(3, 32, 3, 2), unit(32, 32, 3), unit(32, 64, 3), nn.MaxPool2d(3, stride=2, padding=1)
        )
        inputs, bottleneck = 64, depth >= 50
        for row, blocks in enumerate(BLOCKS[depth]):
            width = 64 * 2**row
            stage = nn.Sequential()
            for first in [True] + [False] * (blocks - 1):
                stage.append(
                    Block(unit, inputs, width, stride=2 if first and row else 1, bottleneck=bottleneck, first=first)
                )
                inputs = width * (BOTTLENECK if bottleneck else 1)
            body.add_module(f"stage{row + 1}", stage)
        super().__init__(
            body,
            steps=["stem", *(tap.step for tap in TAPS.values())],
            taps=TAPS,
            levels=levels,
            input_size=input_size,
            absent=["fc"],
        )

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The names of RT-DETR's release (``ResNet50_vd_ssld_v2_pretrained_from_paddle.pth``) in ours."""
        return {release_name(key) or key: value for key, value in state.items()}


def release_name(key: str) -> str | None:
    """The name below ``body`` of a tensor of RT-DETR's ``PResNet``; None where it has none."""
    placed = by_rules(RELEASE, key)
    if placed is None:
        return None
    path, part, value = placed.rsplit(".", 2)
    own = {"conv": "1", "norm": "2"} if path.endswith("short") else {"conv": "0", "norm": "1"}
    return f"{path}.{own[part]}.{value}"


class Block(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1; added to the input or, in a stage's first block, to a projection of it.

    Args:
        unit: makes a convolution with norm and activation.
        inputs: channels.
        width: channels of the 3x3 convolutions.
        stride: of the first 3x3 convolution; the shortcut averages over 2x2 cells where it is 2.
        bottleneck: which of the two.
        first: whether the shortcut projects.
    """

    def __init__(
        self,
        unit: partial[Conv2dNormActivation],
        inputs: int,
        width: int,
        *,
        stride: int,
        bottleneck: bool,
        first: bool,
    ) -> None:
        super().__init__()
        if bottleneck:
            outputs = width * BOTTLENECK
            parts = [
                unit(inputs, width, 1),
                unit(width, width, 3, stride),
                unit(width, outputs, 1, activation_layer=None),
            ]
        else:
            outputs = width
            parts = [unit(inputs, width, 3, stride), unit(width, width, 3, activation_layer=None)]
        self.main = nn.Sequential(*parts)
        shrink = nn.AvgPool2d(2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.short = nn.Sequential(shrink, *unit(inputs, outputs, 1, activation_layer=None)) if first else nn.Identity()
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h/stride,w/stride], sizes rounded up."""
        added: Tensor = self.activation(self.main(x) + self.short(x))
        return added
