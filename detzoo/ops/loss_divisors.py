"""Sums over processes, and the divisors that are made of them.

Data-parallel training averages gradients over P processes, so a batch-wide divisor is the sum over all processes
divided by P: the mean of the processes' losses is then the loss of the whole batch in one process.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, distributed


def sum_over_processes(amount: Tensor) -> Tensor:
    """``amount`` added up over all processes, the same in each of them; ``amount`` itself in a single one."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return amount
    total = amount.clone()  # all_reduce writes into its argument
    distributed.all_reduce(total)
    return total


def process_count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def divisor_of(amounts: Tensor, *, scope: Literal["batch", "image"], at_least: float) -> Tensor:
    """What a loss is divided by.

    Args:
        amounts: bool or float [B,N]: what is counted, or added up.
        scope: ``batch``: the sum over the batches of all processes, for each of them; ``image``: the sum of each image,
            times B, for the mean over images.
        at_least: lower bound of the sum.

    Returns:
        float32 scalar or [B].
    """
    if scope == "image":
        return amounts.sum(1).float().clamp(min=at_least) * max(1, amounts.shape[0])
    return sum_over_processes(amounts.sum().float()).clamp(min=at_least) / process_count()
