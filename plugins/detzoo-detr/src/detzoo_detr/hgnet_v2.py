"""HGNetv2: the backbone of D-FINE and of DEIMv2's small networks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo.components.backbones.feature_extractor import Tap, TappedBackbone, check_levels
from detzoo.components.backbones.freeze import Norm, norm_factory

SizeName: TypeAlias = Literal["b0", "b1", "b2", "b3", "b4", "b5", "atto", "femto", "pico"]
TAPS: Final = {f"s{2 ** (row + 1)}": Tap(f"stage{row}", 2.0 ** (row + 1)) for row in range(1, 5)}
"""Level -> stage that gives it."""


@dataclass(frozen=True)
class StageSize:
    """One stage.

    Args:
        middle: channels of the layers inside its blocks.
        outputs: channels of its map.
        blocks: their number.
        kernel: side of the layers' convolutions.
        layers: of each block.
        light: a layer is a 1x1 convolution and a depthwise one.
    """

    middle: int
    outputs: int
    blocks: int
    kernel: int
    layers: int
    light: bool


@dataclass(frozen=True)
class Size:
    """A network: channels within and behind the stem, and its stages."""

    stem: tuple[int, int]
    stages: tuple[StageSize, ...]


def _size(stem: tuple[int, int], layers: int, *stages: tuple[int, int, int, int]) -> Size:
    """Of (middle, outputs, blocks, kernel) of each stage; the third and fourth are light."""
    made = [StageSize(m, o, blocks, kernel, layers, row > 1) for row, (m, o, blocks, kernel) in enumerate(stages)]
    return Size(stem, tuple(made))


SIZES: Final[dict[SizeName, Size]] = {
    "b0": _size((16, 16), 3, (16, 64, 1, 3), (32, 256, 1, 3), (64, 512, 2, 5), (128, 1024, 1, 5)),
    "b1": _size((24, 32), 3, (32, 64, 1, 3), (48, 256, 1, 3), (96, 512, 2, 5), (192, 1024, 1, 5)),
    "b2": _size((24, 32), 4, (32, 96, 1, 3), (64, 384, 1, 3), (128, 768, 3, 5), (256, 1536, 1, 5)),
    "b3": _size((24, 32), 5, (32, 128, 1, 3), (64, 512, 1, 3), (128, 1024, 3, 5), (256, 2048, 1, 5)),
    "b4": _size((32, 48), 6, (48, 128, 1, 3), (96, 512, 1, 3), (192, 1024, 3, 5), (384, 2048, 1, 5)),
    "b5": _size((32, 64), 6, (64, 128, 1, 3), (128, 512, 2, 3), (256, 1024, 5, 5), (512, 2048, 2, 5)),
    "atto": _size((16, 16), 3, (16, 64, 1, 3), (32, 256, 1, 3), (64, 256, 1, 3)),
    "femto": _size((16, 16), 3, (16, 64, 1, 3), (32, 256, 1, 3), (64, 512, 1, 5)),
    "pico": _size((16, 16), 3, (16, 64, 1, 3), (32, 256, 1, 3), (64, 512, 2, 5)),
}
"""Source: PaddleClas ``PPHGNetV2``, as timm has it (b0 to b5); DEIMv2's release (the others)."""


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """How convolutions are made."""

    norm: Norm
    affine: bool

    def unit(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, active: bool = True
    ) -> Unit:
        """Convolution, norm and, where ``active``, ReLU and learnable affine."""
        conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
        norm = norm_factory(self.norm, eps=1e-5, momentum=0.1)(outputs)
        return Unit(conv, norm, active=active, affine=active and self.affine)

    def light(self, inputs: int, outputs: int, kernel: int) -> nn.Sequential:
        """A 1x1 convolution without activation, then a depthwise one."""
        pointwise = self.unit(inputs, outputs, 1, active=False)
        return nn.Sequential(pointwise, self.unit(outputs, outputs, kernel, groups=outputs))


class LearnableAffine(nn.Module):
    """x times a number, plus another; both are learned, one pair for all channels.

    Source: PaddleClas, ``LearnableAffineBlock``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Float of any shape."""
        return self.scale * x + self.bias


class Unit(nn.Module):
    """Convolution, batch norm, ReLU and learnable affine; the last two where they are wanted."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, *, active: bool, affine: bool) -> None:
        super().__init__()
        self.conv, self.bn = conv, norm
        self.active = active
        self.lab = LearnableAffine() if affine else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,outputs,~h/stride,~w/stride]."""
        x = self.bn(self.conv(x))
        seen: Tensor = self.lab(F.relu(x) if self.active else x)
        return seen


class Stem(nn.Module):
    """Stride 4: a convolution, two branches with even kernels and a pooling one, and two convolutions that join them.

    Args:
        layers: how convolutions are made.
        inner: channels within.
        outputs: channels that come out.
    """

    def __init__(self, layers: _Layers, inner: int, outputs: int) -> None:
        super().__init__()
        self.stem1 = layers.unit(3, inner, 3, stride=2)
        self.stem2a = layers.unit(inner, inner // 2, 2)
        self.stem2b = layers.unit(inner // 2, inner, 2)
        self.stem3 = layers.unit(2 * inner, inner, 3, stride=2)
        self.stem4 = layers.unit(inner, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,outputs,~H/4,~W/4]."""
        # a kernel of two needs one more row and column; they stand below and to the right
        x = F.pad(self.stem1(x), (0, 1, 0, 1))
        deep = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        x = torch.cat([F.max_pool2d(x, 2, stride=1), deep], dim=1)
        joined: Tensor = self.stem4(self.stem3(x))
        return joined


class Block(nn.Module):
    """Layers one after another; the input and what each has found, concatenated, go through two 1x1 convolutions.

    Args:
        layers: how convolutions are made.
        inputs: channels.
        size: of its stage.
        residual: added to its input.
    """

    def __init__(self, layers: _Layers, inputs: int, size: StageSize, *, residual: bool) -> None:
        super().__init__()
        make = layers.light if size.light else layers.unit
        before = [inputs, *[size.middle] * (size.layers - 1)]
        self.layers = nn.ModuleList(make(channels, size.middle, size.kernel) for channels in before)
        total = inputs + size.layers * size.middle
        self.aggregation = nn.Sequential(
            layers.unit(total, size.outputs // 2, 1), layers.unit(size.outputs // 2, size.outputs, 1)
        )
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,outputs,h,w]."""
        found = [x]
        for layer in self.layers:
            found.append(layer(found[-1]))
        joined: Tensor = self.aggregation(torch.cat(found, dim=1))
        return x + joined if self.residual else joined


class Stage(nn.Module):
    """A depthwise convolution of stride 2, but in the first stage, and blocks, all but the first of them residual."""

    def __init__(self, layers: _Layers, inputs: int, size: StageSize, *, halve: bool) -> None:
        super().__init__()
        halving = layers.unit(inputs, inputs, 3, stride=2, groups=inputs, active=False) if halve else nn.Identity()
        self.downsample = halving
        self.blocks = nn.Sequential(
            *(Block(layers, size.outputs if row else inputs, size, residual=row > 0) for row in range(size.blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,outputs,~h/2,~w/2], of the first stage [B,outputs,h,w]."""
        deep: Tensor = self.blocks(self.downsample(x))
        return deep


class HgNetV2(TappedBackbone):
    """A stem of stride 4 and three or four stages whose blocks aggregate what each of their layers has found.

    Args:
        input_size: (height, width) px, where fixed.
        levels: of ``s4``, ``s8``, ``s16`` and ``s32``; atto, femto and pico end with ``s16``.
        size: ``b0`` to ``b5``, or DEIMv2's ``atto``, ``femto`` and ``pico``.
        affine: every ReLU is followed by a learnable scale and shift: b0 to b2, DEIMv2.
        norm: batch norms.

    The published networks differ in what they were trained on: PaddleClas' ImageNet files on ImageNet's mean and
    deviation, D-FINE and DEIMv2, which start from them, on values from 0 to 1. So no normalisation is declared.

    Source: PaddleClas ``PPHGNetV2``; Peng et al. 2024, D-FINE (arXiv:2410.13842), its ``HGNetv2``; Huang et al. 2025,
    DEIMv2 (arXiv:2509.20787), section 3.
    """

    name: ClassVar[str] = "hgnet_v2"
    expects = None

    def __init__(
        self,
        input_size: tuple[int, int] | None = None,
        /,
        *,
        levels: Annotated[tuple[str, ...], Field(min_length=1)] = ("s8", "s16", "s32"),
        size: SizeName = "b0",
        affine: bool = True,
        norm: Norm = "batch",
    ) -> None:
        layers, sizes = _Layers(norm=norm, affine=affine), SIZES[size]
        taps = dict(list(TAPS.items())[: len(sizes.stages)])
        check_levels(f"HGNetv2 {size}", levels, tuple(taps))
        body = nn.Module()
        inner, inputs = sizes.stem
        body.stem = Stem(layers, inner, inputs)
        for row, stage in enumerate(sizes.stages):
            body.add_module(f"stage{row + 1}", Stage(layers, inputs, stage, halve=row > 0))
            inputs = stage.outputs
        super().__init__(
            body,
            steps=["stem", *(tap.step for tap in taps.values())],
            taps=taps,
            levels=levels,
            input_size=input_size,
            absent=["head"],
        )

    def adapt_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The names of D-FINE's ``PPHGNetV2_*_stage1.pth`` and of timm's ``hgnetv2_*`` in ours."""
        return {released_name(key): value for key, value in state.items()}


def released_name(key: str) -> str:
    """Our name below ``body`` of a tensor as PyTorch releases of the network call it."""
    counted = re.sub(r"^stages\.(\d+)\.", lambda found: f"stage{int(found[1]) + 1}.", key)
    return re.sub(r"(\.layers\.\d+\.)conv([12])\.", lambda found: f"{found[1]}{int(found[2]) - 1}.", counted)
