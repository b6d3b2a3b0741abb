"""An exponential moving average of the weights, evaluated and saved in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from detzoo.weights.values import key_problems


class Ema:
    """``average = d average + (1 - d) weights`` with ``d = min(decay, (1 + t) / (10 + t))`` after step ``t``.

    The ramp keeps the random first weights from dominating. Floating-point buffers are averaged as well, the others
    copied.

    Source: TensorFlow's ExponentialMovingAverage with ``num_updates``.

    Args:
        module: what is followed.
        decay: final ``d``.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take the weights after ``step`` (1 for the first) into the average."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))  # step 1: 2 / 11, so the first weights soon fade
        averages, values = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():  # counters of batches have no mean
                averages.append(self.average[name])
                values.append(value)
            else:
                self.average[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1.0 - decay)  # one kernel for all tensors, not one for each

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Within the block the module holds the average; afterwards its own weights, bit for bit."""
        # a copy: load_state_dict writes in place
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.average)
        try:
            yield
        finally:
            module.load_state_dict(own)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from saved averages.

        Raises:
            ValueError: they are of another network.
        """
        wrong = key_problems(self.average, tensors)
        if wrong:
            raise ValueError(wrong)
        for name, value in tensors.items():
            self.average[name].copy_(value)
