"""The layers of darknet that PyTorch does not have, and its convolution as a block.

Letters: B images, C channels, H W cells, F filters.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detzoo_yolo.layout import Activation, LayerSpec

LEAK: Final = 0.1


class Block(nn.Sequential):
    """conv, norm, activation: one ``[convolutional]`` or ``[connected]`` of darknet; absent parts are left out."""


class MaxPool(nn.Module):
    """Max pooling that pads size - 1 px in all, the odd one on the right and below.

    Args:
        size: of the window.
        stride: between windows.

    Source: darknet, maxpool_layer.c: output (n - 1) / stride + 1, so that 2/1 keeps the size of the map.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.left, self.right = (size - 1) // 2, size - 1 - (size - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,H,W] -> [B,C,ceil(H / stride),ceil(W / stride)]."""
        if self.left == self.right:
            return F.max_pool2d(x, self.size, self.stride, self.left)
        if self.size == self.stride == 2:
            return F.max_pool2d(x, 2, 2, ceil_mode=True)  # the same windows, without a copy
        padded = F.pad(x, (self.left, self.right, self.left, self.right), value=-math.inf)  # -inf: never the maximum
        return F.max_pool2d(padded, self.size, self.stride)


class Reorg(nn.Module):
    """Darknet's ``[reorg]``: finer cells become channels, in an order of its own.

    Darknet reads the memory of [C,H,W] as [C / s², H s, W s] before it gathers the s x s neighbours, so its channels
    are not those of ``pixel_unshuffle``. The released YOLOv2 weights were trained with it.

    Args:
        stride: s.

    Source: darknet, blas.c ``reorg_cpu`` as reorg_layer.c calls it.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,H,W] -> [B,C s²,H / s,W / s]."""
        images, channels, height, width = x.shape
        s = self.stride
        # [B,s,s,C/s²,H,W]
        split = x.reshape(images, channels // (s * s), height, s, width, s).permute(0, 3, 5, 1, 2, 4)
        return split.reshape(images, channels * s * s, height // s, width // s)


class Local(nn.Module):
    """A convolution whose every cell has filters of its own.

    Args:
        channels: C of the input.
        filters: F.
        size: side of the window.
        stride: between windows.
        pad: px on each side.
        cells: (height, width) of the output.

    Source: darknet, local_layer.c, whose order of weights is kept: location, filter, channel, row, column.
    """

    def __init__(
        self, channels: int, filters: int, *, size: int, stride: int, pad: int, cells: tuple[int, int]
    ) -> None:
        super().__init__()
        self.size, self.stride, self.pad, self.cells = size, stride, pad, cells
        window = channels * size * size
        reach = math.sqrt(2 / window)  # local_layer.c: scale * rand_uniform(-1, 1)
        self.weight = nn.Parameter(torch.empty(cells[0] * cells[1], filters, window).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(filters, *cells))

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,H,W] -> [B,F,height,width]."""
        windows = F.unfold(x, self.size, padding=self.pad, stride=self.stride)  # [B,C*size*size,L]
        # a batched product over the locations: [L,F,w] x [L,w,B]
        found = torch.bmm(self.weight, windows.permute(2, 1, 0)).permute(2, 1, 0)  # [B,F,L]
        return found.reshape(len(x), -1, *self.cells) + self.bias


class Flat(nn.Module):
    """A map as a vector, channel by channel, row by row."""

    def forward(self, x: Tensor) -> Tensor:
        """float [B,C,H,W] -> [B,C*H*W]."""
        return x.flatten(1)


class Column(nn.Module):
    """A vector as a map of one cell."""

    def forward(self, x: Tensor) -> Tensor:
        """float [B,F] -> [B,F,1,1]."""
        return x[:, :, None, None]


class Route(nn.Module):
    """Maps one behind the other."""

    def forward(self, *maps: Tensor) -> Tensor:
        """float [B,C_i,H,W] each -> [B,sum C_i,H,W]."""
        return maps[0] if len(maps) == 1 else torch.cat(maps, 1)


class Shortcut(nn.Module):
    """The sum of two maps.

    Args:
        activation: after it.
    """

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.activation = activation_layer(activation)

    def forward(self, x: Tensor, earlier: Tensor) -> Tensor:
        """float [B,C,H,W] each -> the same shape."""
        total = x + earlier
        return total if self.activation is None else self.activation(total)


def activation_layer(name: Activation) -> nn.Module | None:
    """The module; None for linear."""
    made: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU, "relu6": nn.ReLU6, "logistic": nn.Sigmoid, "mish": nn.Mish, "swish": nn.SiLU,
    }  # fmt: skip
    if name == "leaky":
        return nn.LeakyReLU(LEAK, inplace=True)  # 0.1, where torch's default is 0.01
    return made[name]() if name in made else None


def make_layer(
    spec: LayerSpec, channels: int, size: tuple[int, int] | None, cells: tuple[int, int] | None, norm: dict[str, float]
) -> nn.Module:
    """The module of one layer.

    Args:
        spec: what to make.
        channels: of its input.
        size: (height, width) of its input in cells, where known; fc needs it.
        cells: (height, width) of its output, where known; local needs it.
        norm: ``eps`` and ``momentum`` of batch norms.
    """
    simple: dict[str, Callable[[], nn.Module]] = {
        "max": lambda: MaxPool(spec.size, spec.stride),
        "up": lambda: nn.Upsample(scale_factor=spec.stride, mode="nearest"),
        "avg": lambda: nn.AdaptiveAvgPool2d(1),
        "drop": lambda: nn.Dropout(spec.probability),
        "reorg": lambda: Reorg(spec.stride),
        "route": Route,
        "shortcut": lambda: Shortcut(spec.activation),
    }
    if spec.kind in simple:
        return simple[spec.kind]()
    if spec.kind == "local":
        assert cells is not None
        # it has no norm
        made = Local(channels, spec.filters, size=spec.size, stride=spec.stride, pad=spec.pad, cells=cells)
        return _block([("local", made), ("activation", activation_layer(spec.activation))])
    if spec.kind == "fc":
        assert size is not None
        return _connected(spec, channels * size[0] * size[1], norm)
    conv = nn.Conv2d(
        channels,
        spec.filters,
        spec.size,
        stride=spec.stride,
        padding=spec.pad,
        groups=spec.groups,
        bias=not spec.norm,  # the norm's shift is the bias
    )
    start_convolution(conv)
    return _block(
        [
            ("conv", conv),
            ("norm", nn.BatchNorm2d(spec.filters, **norm) if spec.norm else None),  # type: ignore[arg-type]
            ("activation", activation_layer(spec.activation)),
        ]
    )


def _connected(spec: LayerSpec, inputs: int, norm: dict[str, float]) -> Block:
    linear = nn.Linear(inputs, spec.filters, bias=not spec.norm)
    start_linear(linear)
    return _block(
        [
            ("flat", Flat()),
            ("linear", linear),
            ("norm", nn.BatchNorm1d(spec.filters, **norm) if spec.norm else None),  # type: ignore[arg-type]
            ("activation", activation_layer(spec.activation)),
            ("column", Column()),  # the next layer may be a convolution
        ]
    )


def _block(parts: list[tuple[str, nn.Module | None]]) -> Block:
    return Block(OrderedDict((name, part) for name, part in parts if part is not None))


@torch.no_grad()
def start_convolution(conv: nn.Conv2d, std: float | None = None) -> None:
    """Darknet's initial weights: normal, of variance 2 over the inputs of a filter; or of a given width."""
    nn.init.normal_(conv.weight, std=math.sqrt(2 / conv.weight[0].numel()) if std is None else std)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


@torch.no_grad()
def start_linear(linear: nn.Linear) -> None:
    """Darknet's initial weights: evenly from ±√(2 / inputs)."""
    reach = math.sqrt(2 / linear.in_features)
    nn.init.uniform_(linear.weight, -reach, reach)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
