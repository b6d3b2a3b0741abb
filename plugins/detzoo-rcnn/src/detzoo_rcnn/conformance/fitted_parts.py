"""Windows whose vectors are known, and what classifiers and regressors that are fitted on them have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.testing.specimens import NUM_CLASSES, OTHER_SEED
from detzoo.testing.subject import Subject, assert_finite
from detzoo_rcnn.window_store import Kept, Windows, WindowStore

IMAGES: Final = 12
WINDOWS: Final = 20


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
    for image in range(IMAGES):
        windows, vectors = _specimen(source, image % NUM_CLASSES, width)
        store.append(image, windows, {feature: vectors[windows.near] if near else vectors})
    return store


def _specimen(source: np.random.Generator, label: int, width: int) -> tuple[Windows, NDArray[np.float32]]:
    """Window 0 is the object, 1 to 7 are shifted off it, the others are far away."""
    rows = np.arange(WINDOWS)
    shift = np.where(rows < 8, source.uniform(-8, 8, WINDOWS), 0) * (rows > 0)
    object_ = np.array([20, 20, 120, 120], np.float32)
    boxes = np.where(rows[:, None] < 8, object_, object_ + 500).astype(np.float32)
    boxes[:, [0, 2]] += shift[:, None]
    overlap = np.where(rows < 8, (100 - np.abs(shift)) / (100 + np.abs(shift)), 0).astype(np.float32)
    by_class = np.zeros((WINDOWS, NUM_CLASSES), np.float32)
    by_class[:, label] = overlap
    vectors = source.normal(0, 0.05, (WINDOWS, width))
    vectors[:, label] += 3 * (rows < 8)
    vectors[:, NUM_CLASSES] = shift
    windows = Windows(
        boxes=boxes,
        truth=np.where(rows[:, None] < 8, object_, boxes).astype(np.float32),
        labels=np.where(rows < 8, label, -1),
        overlap=overlap,
        class_overlap=by_class,
        given=rows == 0,
        ignored=np.zeros(WINDOWS, np.bool_),
        near=overlap > 0.6,
    )
    return windows, vectors.astype(np.float32)


def width_of(subject: Subject) -> int:
    """Length of the vector that it reads, as the head of its detector declares it."""
    assert subject.detector is not None, "add a recipe that uses it: the length of its vector comes from a head"
    head: Any = subject.detector.head
    assert subject.component.feature in head.out, f"the head has no vector {subject.component.feature}"
    return int(head.out[subject.component.feature].channels)


def assert_shape(found: torch.Tensor, expected: tuple[int, ...]) -> None:
    """Fail where what it returns is not float32 of that shape, or not finite."""
    assert tuple(found.shape) == expected, f"it returns {tuple(found.shape)}, the contract says {expected}"
    assert found.dtype == torch.float32, f"it returns {found.dtype}, not float32"
    assert_finite(found, "the output")


def assert_fit_is_in_state(subject: Subject, expected: torch.Tensor, vectors: torch.Tensor) -> None:
    """Fail where another one with the same state answers differently."""
    other = subject.rebuild(OTHER_SEED)
    other.load_state_dict(subject.component.state_dict())
    assert torch.equal(other(vectors), expected), "what was fitted is not all in the state dict: use buffers"
