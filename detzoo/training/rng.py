"""States of every random generator, as tensors: nothing is pickled."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

_PYTHON, _NUMPY = 625, 624  # words of the Mersenne Twister; Python's state has the position too


def capture(device: torch.device) -> dict[str, Tensor]:
    """States of torch (CPU, and CUDA where ``device`` is one), NumPy's legacy generator and Python's ``random``."""
    _, keys, position, has_gauss, gauss = cast("tuple[str, Any, int, int, float]", np.random.get_state(legacy=True))
    version, words, python_gauss = random.getstate()
    assert version == 3
    states = {
        "torch": torch.get_rng_state().clone(),
        # tensors: safetensors
        "numpy": torch.tensor([*(int(k) for k in keys), int(position), int(has_gauss)], dtype=torch.int64),
        "numpy_gauss": torch.tensor([float(gauss)], dtype=torch.float64),
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor([float("nan") if python_gauss is None else python_gauss], dtype=torch.float64),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore(states: dict[str, Tensor], device: torch.device) -> None:
    """Set every generator back. A run that moves to another device type restarts that device's generator."""
    torch.set_rng_state(states["torch"])
    numbers = states["numpy"].tolist()
    keys = np.array(numbers[:_NUMPY], dtype=np.uint32)
    np.random.set_state(("MT19937", keys, numbers[_NUMPY], numbers[_NUMPY + 1], states["numpy_gauss"].item()))
    gauss = states["python_gauss"].item()
    random.setstate((3, tuple(states["python"].tolist()[:_PYTHON]), None if math.isnan(gauss) else gauss))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """Random numbers used within the block leave no trace: evaluation and worker start-up do not change training."""
    states = capture(device)
    try:
        yield
    finally:
        restore(states, device)


def seed_everything(seed: int) -> None:
    """Start every generator from one number."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # NumPy's legacy generator takes 32 bits
    torch.manual_seed(seed)
