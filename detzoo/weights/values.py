"""What no weights have: other names and shapes, numbers of another kind, infinite ones, negative variances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

_PLAIN: Final = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Floats of 8 bits and less mean something only with the scales that are kept beside them."""
_WHOLE: Final = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def key_problems(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What is missing, unknown or of another shape, the first five of each; empty where nothing is."""
    wrong = {
        "missing": [k for k in own if k not in state],
        "unknown": [k for k in state if k not in own],
        "of another shape": [
            f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
            for k in own
            if k in state and state[k].shape != own[k].shape
        ],
    }
    return "; ".join(f"{len(v)} {name}: {', '.join(v[:5])}" for name, v in wrong.items() if v)


def value_problems(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What is wrong with the values of a state dict, ``name: reason`` each; empty where nothing is.

    Args:
        own: state of the module that they are for; names that only one of the two has are passed over.
        given: to be loaded. Half precision is as good as float32.
    """
    found = []
    for name, value in given.items():
        if name in own and (reason := _problem(name, own[name], value)) is not None:
            found.append(f"{name}: {reason}")
    return found


def _problem(name: str, own: Tensor, value: Tensor) -> str | None:
    if not own.is_floating_point():
        counted = name.endswith(".num_batches_tracked")  # some files keep it as a float; evaluation never reads it
        fits = value.dtype == own.dtype or (own.dtype in _WHOLE and value.dtype in _WHOLE)
        return None if fits or (counted and value.dtype in _PLAIN) else f"is {_kind(value)}, must be {_kind(own)}"
    if value.dtype not in _PLAIN:
        return f"is {_kind(value)}, must be a floating-point number of 16 bits or more"
    finite = value.isfinite()
    if not bool(finite.all()) and bool(own.isfinite().all()):
        return f"{int((~finite).sum())} of {value.numel()} values are NaN or infinite"
    if name.endswith("running_var") and value.numel() and bool((value < 0).any()):
        return f"a variance is negative ({float(value.min()):g})"
    return None


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
