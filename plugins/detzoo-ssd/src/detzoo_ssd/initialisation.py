"""How SSD's new layers start."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import nn

Init: TypeAlias = Literal["xavier", "normal"]


def initialise(module: nn.Module, how: Init, std: float = 0.03) -> None:
    """Set the convolutions of ``module``; biases become 0.

    Args:
        module: whose convolutions are set, in place.
        how: ``xavier``: uniform, as Caffe's released training code; ``normal``: SSDLite and RetinaNet.
        std: of ``normal``: SSDLite's 0.03, RetinaNet's 0.01.

    Source: weiliu89/caffe ssd_pascal.py; torchvision's ssd.py and ssdlite.py.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if how == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.normal_(layer.weight, mean=0.0, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
