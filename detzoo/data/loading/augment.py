"""A list of transforms applied to one image, with the other images that some of them ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detzoo.interfaces import Transform
from detzoo.types import Sample

Another = Callable[[np.random.Generator], Sample]
"""A random image of the dataset, as it lies there."""


def augment(
    sample: Sample,
    transforms: Sequence[Transform],
    rng: np.random.Generator,
    another: Another,
    progress: float = 0.0,
) -> Sample:
    """The sample with the transforms applied that are active.

    Args:
        sample: is not changed.
        transforms: in order.
        rng: decides everything: other images are sampled, and augmented, by the same generator.
        another: gives a random image to transforms that look at several.
        progress: share of the training that is done, 0..1.
    """

    def draw_after(count: int, *, plain: bool) -> Sample:
        other = another(rng)
        # those before this one alone
        return other if plain else augment(other, transforms[:count], rng, another, progress)

    for count, transform in enumerate(transforms):
        begin, end = transform.active
        if begin <= progress < end:  # those that are off take no random number
            sample = transform(sample, rng, lambda *, plain=False, count=count: draw_after(count, plain=plain))
    return sample
