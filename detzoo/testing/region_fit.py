"""Checks of what is fitted on vectors of windows: region classifiers and regressors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.data.window_store import Kept, Windows, WindowStore
from detzoo.testing.specimens import NUM_CLASSES
from detzoo.testing.subject import Subject, assert_finite

_IMAGES: Final = 12
_WINDOWS: Final = 20


def check_classifier(subject: Subject) -> None:
    """Margins [R,K]; once fitted, ground truth of a class lies above background, and the weights are in the state."""
    part = subject.component
    assert not part.fitted, "a new classifier says that it is fitted"
    width = _width(subject)
    with tempfile.TemporaryDirectory() as folder:
        store = specimen_store(Path(folder), part.feature, width, near=False)
        done: list[int] = []
        part.fit(store, done.append)
        vectors, windows = torch.from_numpy(store.read(part.feature, 0)), store.windows(0)
    assert sum(done) == part.passes * _IMAGES, f"advance was told of {sum(done)} images, not of {_IMAGES} a pass"
    assert part.fitted, "a fitted classifier says that it is not"
    margins = part(vectors)
    _check_shape(margins, (_WINDOWS, NUM_CLASSES))
    label = int(windows.labels[windows.given][0])
    true, background = margins[windows.given, label], margins[windows.overlap == 0, label]
    assert bool(true.min() > background.max()), "classes that lie far apart are not separated"
    _check_state(subject, part(vectors), vectors)


def check_regressor(subject: Subject) -> None:
    """Deltas [R,K,4]; once fitted, a shift that the vectors tell is undone, and the weights are in the state."""
    part = subject.component
    width = _width(subject)
    with tempfile.TemporaryDirectory() as folder:
        store = specimen_store(Path(folder), part.feature, width, near=True)
        done: list[int] = []
        part.fit(store, done.append)
        vectors, own = torch.from_numpy(store.read(part.feature, 0, near=True)), store.windows(0)
    assert sum(done) == _IMAGES, f"advance was told of {sum(done)} images, not of {_IMAGES}"
    deltas = part(vectors)
    _check_shape(deltas, (len(vectors), NUM_CLASSES, 4))
    boxes, truth = (torch.from_numpy(values[own.near]) for values in (own.boxes, own.truth))
    label = int(own.labels[own.near][0])
    corrected = part.coder.decode(deltas[:, label], boxes, torch.ones(len(boxes)))
    before, after = ((values - truth).abs().mean() for values in (boxes, corrected))
    assert bool(after < 0.5 * before), f"boxes are {after:.2g} px off after correction, {before:.2g} px before"
    _check_state(subject, part(vectors), vectors)


def specimen_store(folder: Path, feature: str, width: int, *, near: bool) -> WindowStore:
    """Images of 20 windows: an object, windows shifted off it by what their vector tells, and background.

    Args:
        folder: an empty one.
        feature: name of the vector.
        width: its length, at least NUM_CLASSES + 1.
        near: keep vectors of windows near the object alone.
    """
    kept = Kept(width, "near" if near else "all")
    store = WindowStore(folder, origin={}, vectors={feature: kept}, num_classes=NUM_CLASSES, precision="float32")
    source = np.random.default_rng(0)
    for image in range(_IMAGES):
        windows, vectors = _specimen(source, image % NUM_CLASSES, width)
        store.append(image, windows, {feature: vectors[windows.near] if near else vectors})
    return store


def _specimen(source: np.random.Generator, label: int, width: int) -> tuple[Windows, NDArray[np.float32]]:
    """Window 0 is the object, 1 to 7 are shifted off it, the others are far away."""
    rows = np.arange(_WINDOWS)
    shift = np.where(rows < 8, source.uniform(-8, 8, _WINDOWS), 0) * (rows > 0)
    object_ = np.array([20, 20, 120, 120], np.float32)
    boxes = np.where(rows[:, None] < 8, object_, object_ + 500).astype(np.float32)
    boxes[:, [0, 2]] += shift[:, None]
    overlap = np.where(rows < 8, (100 - np.abs(shift)) / (100 + np.abs(shift)), 0).astype(np.float32)
    by_class = np.zeros((_WINDOWS, NUM_CLASSES), np.float32)
    by_class[:, label] = overlap
    vectors = source.normal(0, 0.05, (_WINDOWS, width))
    vectors[:, label] += 3 * (rows < 8)
    vectors[:, NUM_CLASSES] = shift
    windows = Windows(
        boxes=boxes,
        truth=np.where(rows[:, None] < 8, object_, boxes).astype(np.float32),
        labels=np.where(rows < 8, label, -1),
        overlap=overlap,
        class_overlap=by_class,
        given=rows == 0,
        ignored=np.zeros(_WINDOWS, np.bool_),
        near=overlap > 0.6,
    )
    return windows, vectors.astype(np.float32)


def _width(subject: Subject) -> int:
    """Length of the vector that it reads, as the head of its detector declares it."""
    assert subject.detector is not None, "add a recipe that uses it: the length of its vector comes from a head"
    head: Any = subject.detector.head
    assert subject.component.feature in head.out, f"the head has no vector {subject.component.feature}"
    return int(head.out[subject.component.feature].channels)


def _check_shape(found: torch.Tensor, expected: tuple[int, ...]) -> None:
    assert tuple(found.shape) == expected, f"it returns {tuple(found.shape)}, the contract says {expected}"
    assert found.dtype == torch.float32, f"it returns {found.dtype}, not float32"
    assert_finite(found, "the output")


def _check_state(subject: Subject, expected: torch.Tensor, vectors: torch.Tensor) -> None:
    other = subject.rebuild(5)
    other.load_state_dict(subject.component.state_dict())
    assert torch.equal(other(vectors), expected), "what was fitted is not all in the state dict: use buffers"
