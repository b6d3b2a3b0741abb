"""Checks of augmentations."""

from __future__ import annotations

import numpy as np

from detzoo.testing.specimens import GROUND_TRUTHS, sample
from detzoo.testing.subject import Subject
from detzoo.types import Sample


def check_outputs(subject: Subject) -> None:
    """An image with boxes inside it, arrays of the contract's dtypes and of one length."""
    for name in GROUND_TRUTHS:
        for seed in range(6):
            _check_sample(subject.component(sample(name), np.random.default_rng(seed)), name)


def _check_sample(found: Sample, name: str) -> None:
    height, width = found.image.shape[:2]
    count = len(found.boxes)
    assert found.image.dtype == np.uint8, f"{name}: the image is {found.image.dtype}, not uint8"
    assert found.image.ndim == 3, f"{name}: the image has shape {found.image.shape}, not [H,W,3]"
    assert height > 0, f"{name}: the image has no pixels"
    assert width > 0, f"{name}: the image has no pixels"
    for field, dtype in (
        ("boxes", np.float32),
        ("labels", np.int64),
        ("difficult", np.bool_),
        ("crowd", np.bool_),
    ):
        array = getattr(found, field)
        assert array.dtype == dtype, f"{name}: {field} is {array.dtype}, not {np.dtype(dtype)}"
        assert len(array) == count, f"{name}: {field} has {len(array)} rows, boxes {count}"
    if count:
        low, high = found.boxes.min(axis=0), found.boxes.max(axis=0)
        assert low.min() >= -1e-3, f"{name}: a box begins outside the image"
        assert high[2] <= width + 1e-3, f"{name}: a box ends at x = {high[2]}, the image is {width} px wide"
        assert high[3] <= height + 1e-3, f"{name}: a box ends at y = {high[3]}, the image is {height} px high"


def check_input_is_not_changed(subject: Subject) -> None:
    """The given sample keeps its values: the dataset may hand it out again."""
    given, copied = sample(), sample()
    for seed in range(6):
        subject.component(given, np.random.default_rng(seed))
    for field in ("image", "boxes", "labels"):
        assert np.array_equal(getattr(given, field), getattr(copied, field)), f"{field} changed in place"


def check_same_seed_same_result(subject: Subject) -> None:
    """All randomness comes from the generator it is given."""
    first = subject.component(sample(), np.random.default_rng(3))
    second = subject.component(sample(), np.random.default_rng(3))
    assert np.array_equal(first.image, second.image), "one seed gave two images"
    assert np.array_equal(first.boxes, second.boxes), "one seed gave two sets of boxes"
