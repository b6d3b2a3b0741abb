"""Checks of region regressors: fitted on windows of known vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from detzoo.testing.module import (
    check_moves_between_dtypes,
    check_same_seed_same_weights,
    check_state_dict_round_trip,
)
from detzoo.testing.specimens import NUM_CLASSES
from detzoo.testing.subject import Subject
from detzoo_rcnn.conformance.fitted_parts import IMAGES, assert_fit_is_in_state, assert_shape, specimen_store, width_of


def check_fit_corrects_boxes(subject: Subject) -> None:
    """Deltas [R,K,4]; once fitted, a shift that the vectors tell is undone, and the weights are in the state."""
    part = subject.component
    width = width_of(subject)
    with tempfile.TemporaryDirectory() as folder:
        store = specimen_store(Path(folder), part.feature, width, near=True)
        done: list[int] = []
        part.fit(store, done.append)
        vectors, own = torch.from_numpy(store.read(part.feature, 0, near=True)), store.windows(0)
    assert sum(done) == IMAGES, f"advance got {sum(done)} images, not of {IMAGES}"
    deltas = part(vectors)
    assert_shape(deltas, (len(vectors), NUM_CLASSES, 4))
    boxes, truth = (torch.from_numpy(values[own.near]) for values in (own.boxes, own.truth))
    label = int(own.labels[own.near][0])
    corrected = part.coder.decode(deltas[:, label], boxes, torch.ones(len(boxes)))
    before, after = ((values - truth).abs().mean() for values in (boxes, corrected))
    assert bool(after < 0.5 * before), f"boxes are {after:.2g} px off after correction, {before:.2g} px before"
    assert_fit_is_in_state(subject, part(vectors), vectors)


__all__ = [
    "check_fit_corrects_boxes",
    "check_moves_between_dtypes",
    "check_same_seed_same_weights",
    "check_state_dict_round_trip",
]
