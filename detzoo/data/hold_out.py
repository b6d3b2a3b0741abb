"""A part of a dataset that is kept from training, where no split is there to choose the best epoch by."""

from __future__ import annotations

from typing import Final

import numpy as np

from detzoo.data.dataset import Dataset

SHARE: Final = 0.1
FEWEST: Final = 10
"""Images below which nothing is held out: one or two would choose by chance."""


def hold_out(dataset: Dataset, *, share: float = SHARE, seed: int = 0) -> tuple[Dataset, Dataset] | None:
    """Cut a dataset in two.

    No class loses its last box in the larger part. The seed is not that of training: runs with different seeds are
    compared on the same images.

    Args:
        dataset: to be cut; it stays as it is.
        share: of its images that is held out, at least one.
        seed: of the choice.

    Returns:
        the larger part, under the name of the split, and the smaller one; None for fewer than ``FEWEST`` images.
    """
    if len(dataset) < FEWEST:
        return None
    index = dataset.annotations()
    left = np.bincount(index.labels, minlength=len(dataset.classes))
    wanted = max(1, round(share * len(dataset)))
    held: set[int] = set()
    for position in np.random.default_rng(seed).permutation(len(dataset)).tolist():
        own = np.bincount(index.labels[index.rows(position)], minlength=len(dataset.classes))
        if len(held) < wanted and not ((left == own) & (own > 0)).any():
            held.add(position)
            left = left - own
    if not held:
        return None
    kept = dataset.subset([position for position in range(len(dataset)) if position not in held])
    smaller = dataset.subset(sorted(held))
    smaller.split = f"held out of {dataset.split}"
    return kept, smaller
