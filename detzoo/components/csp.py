"""Cross-stage-partial layers: what CSPDarknet (YOLOX), CSPNeXt (RTMDet) and their pyramids are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detzoo.components.backbones.freeze import Norm, norm_factory

Activation: TypeAlias = Literal["silu", "relu", "leaky_relu"]
_ACTIVATIONS: Final[dict[Activation, Callable[..., nn.Module]]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.1),
}


@dataclass(frozen=True, kw_only=True)
class Layers:
    """How a network makes its convolutions; each is followed by a batch norm and an activation.

    Args:
        depthwise: ``spatial`` ones are depthwise separable: YOLOX-Nano, RTMDet's pyramid.
        activation: behind each norm.
        norm: batch norms.
        norm_eps: of the norms: 1e-3 in YOLOX, 1e-5 in RTMDet.
        norm_momentum: share of the new batch in the running statistics: 0.03 and 0.1.
    """

    depthwise: bool = False
    activation: Activation = "silu"
    norm: Norm = "batch"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.03

    def plain(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
        """Convolution without bias, norm, activation; padded by half the kernel."""
        norm = norm_factory(self.norm, eps=self.norm_eps, momentum=self.norm_momentum)
        activation = _ACTIVATIONS[self.activation]
        made: nn.Sequential = Conv2dNormActivation(
            inputs, outputs, kernel, stride, groups=groups, norm_layer=norm, activation_layer=activation
        )
        return made

    def norm_and_activation(self, channels: int) -> nn.Sequential:
        """What follows each convolution: for heads whose levels share convolutions, but not norms."""
        norm = norm_factory(self.norm, eps=self.norm_eps, momentum=self.norm_momentum)
        return nn.Sequential(norm(channels), _ACTIVATIONS[self.activation](inplace=True))

    def separable(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        """A depthwise convolution and a pointwise one, each with norm and activation."""
        return nn.Sequential(self.plain(inputs, inputs, kernel, stride, inputs), self.plain(inputs, outputs))

    def spatial(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        """A convolution that sees neighbours: separable where ``depthwise`` says so."""
        make = self.separable if self.depthwise else self.plain
        return make(inputs, outputs, kernel, stride)


class Bottleneck(nn.Module):
    """1x1, then 3x3, added to the input if ``residual``.

    Source: Redmon and Farhadi 2018 (YOLOv3), table 1; YOLOX ``Bottleneck``.
    """

    def __init__(self, layers: Layers, channels: int, *, residual: bool) -> None:
        super().__init__()
        self.first = layers.plain(channels, channels)
        self.second = layers.spatial(channels, channels, 3)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] of the same shape."""
        seen: Tensor = self.second(self.first(x))
        return x + seen if self.residual else seen


class LargeKernelBlock(nn.Module):
    """3x3, then a depthwise separable 5x5, added to the input if ``residual``.

    Source: Lyu et al. 2022 (RTMDet, arXiv:2212.07784), section 3.2; mmdetection ``CSPNeXtBlock``.
    """

    def __init__(self, layers: Layers, channels: int, *, residual: bool) -> None:
        super().__init__()
        self.first = layers.spatial(channels, channels, 3)
        self.second = layers.separable(channels, channels, 5)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] of the same shape."""
        seen: Tensor = self.second(self.first(x))
        return x + seen if self.residual else seen


class ChannelAttention(nn.Module):
    """Every channel times a number that its means decide.

    Source: RTMDet; mmdetection ``ChannelAttention``: one 1x1 convolution and a hard sigmoid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] of the same shape."""
        gates: Tensor = self.gate(self.fc(x.mean((2, 3), keepdim=True)))
        return x * gates


BlockName: TypeAlias = Literal["bottleneck", "large_kernel"]
_BLOCKS: Final[dict[BlockName, type[Bottleneck | LargeKernelBlock]]] = {
    "bottleneck": Bottleneck,
    "large_kernel": LargeKernelBlock,
}


class CspLayer(nn.Module):
    """Half of the channels pass through blocks, the other half passes by; a 1x1 convolution merges them.

    Args:
        layers: how its convolutions are made.
        inputs: channels.
        outputs: channels; both halves have half of them.
        depth: number of blocks.
        block: which.
        residual: whether each block is added to its input.
        attention: whether the halves are weighted by channel before they are merged.

    Source: Wang et al. 2020 (CSPNet, arXiv:1911.11929), section 3.2; YOLOX ``CSPLayer``, mmdetection ``CSPLayer``.
    """

    def __init__(
        self,
        layers: Layers,
        inputs: int,
        outputs: int,
        *,
        depth: int,
        block: BlockName = "bottleneck",
        residual: bool = True,
        attention: bool = False,
    ) -> None:
        super().__init__()
        hidden = outputs // 2
        self.main = layers.plain(inputs, hidden)
        self.short = layers.plain(inputs, hidden)
        self.blocks = nn.Sequential(*(_BLOCKS[block](layers, hidden, residual=residual) for _ in range(depth)))
        self.attention = ChannelAttention(2 * hidden) if attention else nn.Identity()
        self.merge = layers.plain(2 * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h,w]."""
        main, short = self.main(x), self.short(x)
        halves = torch.cat([self.blocks(main), short], dim=1)
        merged: Tensor = self.merge(self.attention(halves))
        return merged


class SpatialPyramidPooling(nn.Module):
    """Maxima over 5, 9 and 13 cells beside the map itself, between two 1x1 convolutions.

    Args:
        layers: how convolutions are made.
        inputs: channels of the map.
        outputs: channels that it gives.
        kernels: sides of the neighbourhoods, odd and rising.

    Source: He et al. 2014 (SPP-net) by way of YOLOv3-SPP; YOLOX ``SPPBottleneck``, mmdetection ``SPPBottleneck``.
    """

    def __init__(self, layers: Layers, inputs: int, outputs: int, *, kernels: tuple[int, ...] = (5, 9, 13)) -> None:
        super().__init__()
        hidden = inputs // 2
        self.reduce = layers.plain(inputs, hidden)
        # the maximum over 9 cells is that over 5 of the maxima over 5: the same numbers, a seventh of the reads
        steps = [kernel - smaller + 1 for smaller, kernel in zip((1, *kernels), kernels, strict=False)]
        self.pools = nn.ModuleList(nn.MaxPool2d(step, stride=1, padding=step // 2) for step in steps)
        self.merge = layers.plain(hidden * (len(kernels) + 1), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h,w]."""
        maps = [self.reduce(x)]
        for pool in self.pools:
            maps.append(pool(maps[-1]))
        merged: Tensor = self.merge(torch.cat(maps, dim=1))
        return merged
