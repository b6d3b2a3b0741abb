"""Checks of augmentations."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from detzoo.interfaces import Draw
from detzoo.testing.specimens import GROUND_TRUTHS, SIZES, draw_from, sample
from detzoo.testing.subject import Subject
from detzoo.types import Sample

_PER_BOX = (
    ("boxes", np.float32),
    ("labels", np.int64),
    ("difficult", np.bool_),
    ("crowd", np.bool_),
    ("masks", np.uint8),
    ("weight", np.float32),
)
"""Fields of a sample with one row per box, and their dtypes."""


def check_outputs(subject: Subject) -> None:
    """An image with boxes inside it, arrays of the contract's dtypes and of one length."""
    others = _others()
    for name in GROUND_TRUTHS:
        for seed in range(6):
            _check_sample(_applied(subject, _given(name), seed, others), name)


def check_draws_are_declared(subject: Subject) -> None:
    """It asks for no more other images than ``draws`` says."""
    others = _others()
    for name in GROUND_TRUTHS:
        for seed in range(6):
            draw = _Counted(draw_from(*others))
            subject.component(_given(name), np.random.default_rng(seed), draw)
            declared = subject.component.draws
            assert draw.taken <= declared, f"{name}: it took {draw.taken} other images, its `draws` says {declared}"


class _Counted:
    def __init__(self, draw: Draw) -> None:
        self.draw, self.taken = draw, 0

    def __call__(self, *, plain: bool = False) -> Sample:
        self.taken += 1
        return self.draw(plain=plain)


def _applied(subject: Subject, given: Sample, seed: int, others: list[Sample]) -> Sample:
    found: Sample = subject.component(given, np.random.default_rng(seed), draw_from(*others))
    return found


def _given(name: str = "mixed boxes") -> Sample:
    one = sample(name, masks=True)
    count = len(one.boxes)
    return dataclasses.replace(one, proposals=None, weight=np.linspace(0.5, 1, count, dtype=np.float32))


def _others() -> list[Sample]:
    """Images of another size, with and without objects."""
    return [sample(name, size=SIZES[1], seed=seed, masks=True) for seed, name in enumerate(GROUND_TRUTHS, 1)]


def _check_sample(found: Sample, name: str) -> None:
    height, width = found.image.shape[:2]
    count = len(found.boxes)
    assert found.image.dtype == np.uint8, f"{name}: the image is {found.image.dtype}, not uint8"
    assert found.image.ndim == 3, f"{name}: the image has shape {found.image.shape}, not [H,W,3]"
    assert height > 0, f"{name}: the image has no pixels"
    assert width > 0, f"{name}: the image has no pixels"
    for field, dtype in _PER_BOX:
        array = getattr(found, field)
        assert array is not None, f"{name}: {field} are lost"
        assert array.dtype == dtype, f"{name}: {field} is {array.dtype}, not {np.dtype(dtype)}"
        assert len(array) == count, f"{name}: {field} has {len(array)} rows, boxes {count}"
    masks = found.masks
    assert masks is not None
    assert masks.shape[1:] == (height, width), f"{name}: masks are {masks.shape[1:]}, the image {(height, width)}"
    if count:
        low, high = found.boxes.min(axis=0), found.boxes.max(axis=0)
        assert low.min() >= -1e-3, f"{name}: a box begins outside the image"
        assert high[2] <= width + 1e-3, f"{name}: a box ends at x = {high[2]}, the image is {width} px wide"
        assert high[3] <= height + 1e-3, f"{name}: a box ends at y = {high[3]}, the image is {height} px high"


def check_input_is_not_changed(subject: Subject) -> None:
    """The given samples keep their values: the dataset may hand them out again."""
    given, copied = [_given(), *_others()], [_given(), *_others()]
    for seed in range(6):
        subject.component(given[0], np.random.default_rng(seed), draw_from(*given[1:]))
    for one, before in zip(given, copied, strict=True):
        for field in ("image", "boxes", "labels", "masks", "weight"):
            assert np.array_equal(getattr(one, field), getattr(before, field)), f"{field} changed in place"


def check_same_seed_same_result(subject: Subject) -> None:
    """All randomness comes from the generator it is given."""
    state = torch.random.get_rng_state()
    first, second = (_applied(subject, _given(), 3, _others()) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state()), "it drew from torch's global random generator"
    assert np.array_equal(first.image, second.image), "one seed gave two images"
    assert np.array_equal(first.boxes, second.boxes), "one seed gave two sets of boxes"
