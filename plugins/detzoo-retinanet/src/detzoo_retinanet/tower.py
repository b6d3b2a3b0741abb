"""The towers of RetinaNet's and FCOS's heads: a few convolutions slid over every map."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field
from torch import nn

from detzoo.errors import RecipeError

Norm: TypeAlias = Literal["none", "group"]
"""``group``: group norm of 32 groups behind each convolution."""
Depth: TypeAlias = Annotated[int, Field(ge=0, le=8)]
Width: TypeAlias = Annotated[int, Field(ge=1, le=8192)]
Probability: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Std: TypeAlias = Annotated[float, Field(gt=0)]


def tower(channels: int, width: int, depth: int, *, norm: Norm, bias: bool) -> nn.Sequential:
    """``depth`` times a 3x3 convolution, its norm and a ReLU.

    Args:
        channels: of the maps.
        width: of every convolution.
        depth: how many.
        norm: behind each convolution.
        bias: whether a convolution with a norm behind it has a bias too: torchvision's FCOS has, its RetinaNet has not.

    Raises:
        RecipeError: 32 groups do not divide the channels, or leave each a single one, which a map of one cell cannot
            be normalised by.
    """
    if norm == "group" and (width % 32 or width == 32):
        raise RecipeError(
            f"head: norm: group makes 32 groups of two channels or more, into which {width} cannot be divided; "
            "take 64, 96 or another multiple of 32, or norm: none"
        )
    layers: list[nn.Module] = []
    for inputs in [channels, *[width] * depth][:depth]:  # depth 0: no layers, not one
        conv = nn.Conv2d(inputs, width, 3, padding=1, bias=bias or norm == "none")  # a norm takes a bias away again
        layers += [nn.Sequential(conv, *([nn.GroupNorm(32, width)] if norm == "group" else []), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers)


def predictor(channels: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution whose outputs are the predictions."""
    return nn.Conv2d(channels, outputs, 3, padding=1)


@torch.no_grad()
def start(head: nn.Module, std: float) -> None:
    """Weights from a normal distribution, biases at 0.

    Source: RetinaNet, section 4.1, initialisation.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def start_at(classification: nn.Conv2d, probability: float | None, *, outputs: int | None = None) -> None:
    """Bias -log((1 - p) / p), so that untrained scores are about ``probability``; None leaves it at 0.

    Args:
        classification: the convolution whose outputs are scores.
        probability: p.
        outputs: how many of its outputs are scores, from the first on; null: all of them.

    Source: RetinaNet, sections 3.3 and 4.1.
    """
    if probability is not None:
        assert classification.bias is not None
        # sigmoid of it is the probability
        classification.bias[:outputs].fill_(-math.log((1 - probability) / probability))
