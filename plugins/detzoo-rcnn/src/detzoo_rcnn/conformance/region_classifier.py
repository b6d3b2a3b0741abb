"""Checks of region classifiers: fitted on windows of known vectors."""

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
from detzoo_rcnn.conformance.fitted_parts import (
    IMAGES,
    WINDOWS,
    assert_fit_is_in_state,
    assert_shape,
    specimen_store,
    width_of,
)


def check_fit_separates_classes(subject: Subject) -> None:
    """Margins [R,K]; once fitted, ground truth of a class lies above background, and the weights are in the state."""
    part = subject.component
    assert not part.fitted, "a new classifier says that it is fitted"
    width = width_of(subject)
    with tempfile.TemporaryDirectory() as folder:
        store = specimen_store(Path(folder), part.feature, width, near=False)
        done: list[int] = []
        part.fit(store, done.append)
        vectors, windows = torch.from_numpy(store.read(part.feature, 0)), store.windows(0)
    assert sum(done) == part.passes * IMAGES, f"advance got {sum(done)} images, not of {IMAGES} per pass"
    assert part.fitted, "a fitted classifier says that it is not"
    margins = part(vectors)
    assert_shape(margins, (WINDOWS, NUM_CLASSES))
    label = int(windows.labels[windows.given][0])
    true, background = margins[windows.given, label], margins[windows.overlap == 0, label]
    assert bool(true.min() > background.max()), "classes that lie far apart are not separated"
    assert_fit_is_in_state(subject, part(vectors), vectors)


__all__ = [
    "check_fit_separates_classes",
    "check_moves_between_dtypes",
    "check_same_seed_same_weights",
    "check_state_dict_round_trip",
]
