"""Checks of proposers: regions from the image alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.prediction.image_proposals import propose
from detzoo.testing.specimens import OTHER_SEED, sample
from detzoo.testing.subject import Subject

_SIZES: Final = ((160, 224), (256, 192), (16, 16))  # (height, width) px


def check_outputs(subject: Subject) -> None:
    """Boxes float32 [P,4] with scores float32 [P], best first; some of them lie on the image."""
    for size in _SIZES:
        image = sample(size=size).image
        what = f"an image of {size[1]} x {size[0]} px"
        boxes, scores = subject.component(image)
        _check_array(boxes, "boxes", (len(boxes), 4), what)
        _check_array(scores, "scores", (len(boxes),), what)
        assert bool((scores[:-1] >= scores[1:]).all()), f"{what}: regions are not sorted by score, best first"
        assert len(propose(subject.component, image)), f"{what}: no region lies on it"


def _check_array(found: NDArray[Any], name: str, shape: tuple[int, ...], what: str) -> None:
    assert isinstance(found, np.ndarray), f"{what}: {name} is a {type(found).__name__}, not a NumPy array"
    assert found.dtype == np.float32, f"{what}: {name} is {found.dtype}, not float32"
    assert found.shape == shape, f"{what}: {name} has shape {found.shape}, the contract says {shape}"
    assert bool(np.isfinite(found).all()), f"{what}: {name} holds NaN or infinity"


def check_input_is_not_changed(subject: Subject) -> None:
    """The image keeps its values: the detector looks at it next."""
    given, copied = sample().image, sample().image
    subject.component(given)
    assert np.array_equal(given, copied), "the image changed in place"


def check_same_image_same_regions(subject: Subject) -> None:
    """Every worker, run and process finds the same regions, whatever was asked before."""
    first, _ = subject.component(sample().image)
    subject.component(sample(seed=1).image)
    for other in (subject.component, subject.rebuild(OTHER_SEED)):
        again, _ = other(sample().image)
        assert np.array_equal(first, again), "one image gave two sets of regions: seed the draw from a field"
