"""Which layer is the first to give NaN or infinity: what a user asks when a loss is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def first_not_finite(network: nn.Module, run: Callable[[], object]) -> str | None:
    """Name of the layer whose inputs are finite and whose output is not, and what went in; None if there is none.

    Args:
        network: whose layers are watched.
        run: the forward pass that went wrong. It runs once more, without gradients.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def after(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if found or all_finite(output) or not all_finite(inputs):
                return
            dtype = next(one.dtype for one in numbers(output) if not all_finite(one))
            largest = max((float(one.abs().max()) for one in numbers(inputs) if one.numel()), default=0.0)
            weights = [value for value in module.parameters() if not all_finite(value)]
            why = "its weights are not finite" if weights else f"of inputs of at most {largest:.3g}"
            found.append(
                f"{name or 'the network'} ({type(module).__name__}) in {str(dtype).removeprefix('torch.')}, {why}"
            )

        return after

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules()]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def numbers(values: Any) -> list[Tensor]:
    """Floating-point tensors within lists, dictionaries and detzoo's own types."""
    return [one for one in tree_leaves(values) if isinstance(one, Tensor) and one.is_floating_point()]


def all_finite(values: Any) -> bool:
    """Whether there is no NaN and no infinity."""
    return all(bool(torch.isfinite(one).all()) for one in numbers(values))
