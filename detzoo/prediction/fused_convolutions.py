"""Convolutions for inference on a CPU: weights laid out once for the processor, the activation in the same kernel.

PyTorch lays weights out again in every call, and an activation of its own reads and writes the whole map once more.
What ``torch.compile`` calls for a convolution does neither (oneDNN, PyTorch's ``mkldnn::_convolution_pointwise``); here
it is called without compiling.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WAYS: Final[dict[type[nn.Module], tuple[str, list[float]]]] = {
    nn.Identity: ("none", []),
    nn.SiLU: ("swish", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
}
"""Names and parameters that the operator takes; it computes each to the last bits."""


MOST_SHAPES: Final = 16
"""Of maps, for which a convolution keeps its weight: a head on five levels, with batches of three sizes."""


class FusedConv2d(nn.Module):
    """A convolution and the activation behind it.

    Elsewhere than in float32 inference on a CPU it is the two of them, one after the other: on another device, with
    gradients, under autocast, while it is compiled or exported.

    Args:
        conv: its weight and bias are taken over, under their names.
        activation: behind it; None for nothing.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding, self.dilation = list(conv.stride), whole_numbers(conv.padding), list(conv.dilation)
        self.groups = conv.groups
        self.activation: nn.Module = nn.Identity() if activation is None else activation
        self.way = _WAYS[type(self.activation)]
        self.packed: dict[torch.Size, Tensor] = {}
        self.version = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] -> [B,outputs,h',w']."""
        if not self.fits(x):
            made: Tensor = self.activation(
                F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
            )
            return made
        (name, values), weight = self.way, self.laid_out(x.shape)
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, self.bias, self.padding, self.stride, self.dilation, self.groups, name, values, ""
        )
        return fused

    def fits(self, x: Tensor) -> bool:
        """Whether the operator computes this call."""
        return (
            x.dtype is torch.float32
            and x.is_cpu
            and not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled("cpu")
            and self.weight.dtype is torch.float32
            and x.numel() > 0
        )

    def laid_out(self, shape: torch.Size) -> Tensor:
        """The weight in the processor's layout for maps of this shape, made once for each, again if it has changed."""
        version = (self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version)
        if version != self.version or (shape not in self.packed and len(self.packed) >= MOST_SHAPES):
            self.packed, self.version = {}, version
        if shape not in self.packed:
            # without the shape a layout is chosen that makes some convolutions thirty times as slow
            self.packed[shape] = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight.detach(), self.padding, self.stride, self.dilation, self.groups, list(shape)
            )
        return self.packed[shape]

    def __getstate__(self) -> dict[str, Any]:
        """Without the copies of the weight, which can neither be copied nor saved."""
        return self.__dict__ | {"packed": {}}


def whole_numbers(padding: str | tuple[int, ...]) -> list[int]:
    """Padding as numbers."""
    if isinstance(padding, str):
        raise ValueError(f"padding={padding!r} is not a number of cells")
    return list(padding)


def can_be_fused(conv: nn.Conv2d) -> bool:
    """Whether it is PyTorch's own convolution, with padding of zeros in numbers; not a class made of it."""
    return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def supported() -> bool:
    """Whether this PyTorch has the two operators."""
    try:
        found = torch.ops.mkldnn._convolution_pointwise.default, torch.ops.mkldnn._reorder_convolution_weight.default
    except AttributeError:
        return False
    return torch.backends.mkldnn.is_available() and all(found)  # type: ignore[no-untyped-call]


def fuse(module: nn.Module, behind: Mapping[nn.Module, nn.Module]) -> None:
    """Put fused convolutions where plain ones are, in place.

    Args:
        module: all that is below it is looked at.
        behind: convolution -> the activation that alone reads its output. An identity takes the activation's place.
    """
    gone = set(behind.values())
    for name, child in module.named_children():
        if child in gone:
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.Conv2d) and can_be_fused(child):
            setattr(module, name, FusedConv2d(child, behind.get(child)))
        else:
            fuse(child, behind)


def is_activation(module: nn.Module) -> bool:
    """Whether the operator knows it."""
    return type(module) in _WAYS and not isinstance(module, nn.Identity)
