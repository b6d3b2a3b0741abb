"""Layers of a finished network, replaced by others of the same place in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def replace_layers(module: nn.Module, kind: type[Layer], make: Callable[[Layer], nn.Module]) -> None:
    """Put ``make(layer)`` in the place of every layer of exactly this kind below ``module``."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is kind:
                setattr(parent, name, make(child))
