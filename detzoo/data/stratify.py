"""Groups of images are dealt out to splits, so that every class has its share in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def deal_out(
    groups: Sequence[int], boxes: NDArray[np.int64], shares: Sequence[float], *, seed: int = 0
) -> NDArray[np.int64]:
    """The split of each image.

    The rarest class is dealt out first, the largest groups first, each to the split that lacks most of the class.

    Args:
        groups: of each image; images of one group stay together.
        boxes: int64 [I,K], boxes of each class in each image.
        shares: of each split; they add up to 1.
        seed: of the order among equals.

    Returns:
        int64 [I], 0..S-1.

    Source: Sechidis, Tsoumakas, Vlahavas, On the Stratification of Multi-Label Data (2011), algorithm 1, with groups in
    place of single examples.
    """
    members: dict[int, list[int]] = {}
    for image, group in enumerate(groups):
        members.setdefault(group, []).append(image)
    order = np.random.default_rng(seed).permutation(len(members))
    keys = [list(members)[at] for at in order]
    keys.sort(key=lambda key: -len(members[key]))
    counts = {key: boxes[members[key]].sum(axis=0) for key in keys}
    wanted = np.array(shares)[:, None] * boxes.sum(axis=0)  # [S,K] boxes that are still lacking
    room = np.array(shares) * len(groups)  # [S] images that are still lacking
    split_of: dict[int, int] = {}
    left = list(keys)
    while left:
        held = np.stack([counts[key] for key in left])
        number = (held > 0).sum(axis=0)
        present = np.flatnonzero(number)
        label = int(present[np.argmin(number[present])]) if len(present) else None
        chosen = [key for key in left if label is None or counts[key][label] > 0]
        for key in chosen:
            lacking = room if label is None else wanted[:, label]
            best = np.flatnonzero(np.isclose(lacking, lacking.max()))
            split = int(best[np.argmax(room[best])])
            split_of[key] = split
            wanted[split] -= counts[key]
            room[split] -= len(members[key])
        taken = set(chosen)
        left = [key for key in left if key not in taken]
    return np.array([split_of[group] for group in groups], np.int64)
