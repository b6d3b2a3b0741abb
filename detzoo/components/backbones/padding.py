"""Padding of strided convolutions: PyTorch's and TensorFlow's."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

Padding: TypeAlias = Literal["torch", "keras"]
"""``torch``: (kernel - 1) / 2 on all sides. ``keras``: TensorFlow's SAME, which for an even input puts one pixel less
at the left and top than at the right and bottom. Weights trained with the one lose accuracy under the other."""


class SameConv2d(nn.Conv2d):
    """Convolution padded by TensorFlow's SAME rule: output size ceil(n / stride), the odd pixel right and below.

    Source: TensorFlow, ``tf.nn.convolution`` with padding SAME; Keras' ``imagenet_utils.correct_pad`` followed by
    a VALID convolution gives the same for odd kernels and stride 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x, float [B,C,h,w]."""
        top, bottom = self._pad(x.shape[-2], 0)
        left, right = self._pad(x.shape[-1], 1)
        padded = F.pad(x, (left, right, top, bottom))
        # padded above, unevenly
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _pad(self, size: int, axis: int) -> tuple[int, int]:
        kernel, stride, dilation = self.kernel_size[axis], self.stride[axis], self.dilation[axis]
        total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2  # the odd pixel behind


def use_same_padding(module: nn.Module) -> None:
    """Turn every strided, padded convolution below ``module`` into a SameConv2d with the same parameters."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            # with stride 1 and an odd kernel SAME is torch's own padding
            if type(child) is nn.Conv2d and max(child.stride) > 1 and child.padding != (0, 0):
                setattr(parent, name, _same(child))


def _same(conv: nn.Conv2d) -> SameConv2d:
    same = SameConv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride, dilation=conv.dilation, groups=conv.groups, bias=conv.bias is not None, device="meta",  # type: ignore[arg-type]
    )  # fmt: skip
    same.weight, same.bias = conv.weight, conv.bias  # the same parameters: optimisers and freezing may hold them
    return same
