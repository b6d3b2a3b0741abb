"""Distributions over the distance to an edge: logits over R bins, each of which stands for a distance."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.ops.boxes import full_precision


def expectation(logits: Tensor, values: Tensor) -> Tensor:
    """The mean distance.

    Args:
        logits: float [...,R].
        values: float [R]: the distance of each bin.

    Returns:
        float32 [...].

    Source: GFL (arXiv:2006.04388), section 3: the integral over a softmax.
    """
    return torch.softmax(full_precision(logits), dim=-1) @ values.to(full_precision(logits).dtype)


def neighbouring_bins(distance: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The bin below each distance, and how far it is on the way to the next.

    Args:
        distance: float [...], from the first to the last of ``values``.
        values: float [R], ascending, R at least 2.

    Returns:
        int64 [...] from 0 to R - 2, and float [...] in [0,1]: 0 at this bin, 1 at the next.
    """
    values = values.to(distance.dtype)
    # the last value is in the last interval
    left = torch.bucketize(distance, values, right=True).clamp(1, len(values) - 1) - 1
    low = values[left]
    return left, (distance - low) / (values[left + 1] - low)
