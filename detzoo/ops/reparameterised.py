"""Layers that train as several branches, and detect as one convolution."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights


class Reparameterised(nn.Module, ABC):
    """Layers of a plugin that are fewer layers where nothing is trained, such as RepVGG's parallel convolutions."""

    @abstractmethod
    def merged(self) -> nn.Module:
        """The same function in evaluation mode, with fewer layers; ``self`` is not changed."""


def sum_of_branches(*branches: Iterable[Any]) -> nn.Conv2d:
    """The one convolution that equals the sum of several, each followed by its norm.

    Args:
        branches: (convolution, norm) each, of odd kernels, padded by half of them, and otherwise alike; the first has
            the largest kernel.

    Source: Ding et al. 2021, RepVGG (arXiv:2101.03697), section 3.3.
    """
    first, _ = branches[0]
    assert isinstance(first, nn.Conv2d)
    one = copy.deepcopy(first)
    weight, bias = torch.zeros_like(first.weight), torch.zeros_like(first.weight[:, 0, 0, 0])
    for conv, norm in branches:
        kernel, shift = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        rows, columns = ((a - b) // 2 for a, b in zip(one.kernel_size, conv.kernel_size, strict=True))
        weight += F.pad(kernel, (columns, columns, rows, rows))
        bias += shift
    one.weight, one.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return one
