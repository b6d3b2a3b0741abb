"""Fixtures of the whole suite."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo_rcnn.window_store import Kept, Windows, WindowStore

CLASSES = 3
SHARED = Path(__file__).parents[4] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real photographs and pretrained weights; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    return SHARED


class Stores:
    """Stores of windows whose vectors are known."""

    classes = CLASSES

    @staticmethod
    def windows_of(
        labels: NDArray[np.int64], overlap: NDArray[np.float64], *, given: NDArray[np.bool_] | None = None
    ) -> Windows:
        """Windows that overlap one object of a class each, or none (-1); given ones are the objects themselves."""
        count = len(labels)
        by_class = np.zeros((count, CLASSES), np.float32)
        touched = labels >= 0
        by_class[np.flatnonzero(touched), labels[touched]] = overlap[touched]
        boxes = (
            np.tile(np.array([10, 20, 50, 80], np.float32), (count, 1)) + np.arange(count, dtype=np.float32)[:, None]
        )
        return Windows(
            boxes=boxes,
            truth=boxes.copy(),
            labels=labels,
            overlap=overlap.astype(np.float32),
            class_overlap=by_class,
            given=np.zeros(count, bool) if given is None else given,
            ignored=np.zeros(count, bool),
            near=overlap > 0.6,
        )

    @classmethod
    def mixed(
        cls, folder: Path, *, images: int = 30, count: int = 40, width: int = 8, spread: float = 1.0
    ) -> WindowStore:
        """An object of each class in turn, windows that half overlap it, and background.

        Vectors ``fc7`` of float32 are noise around a centre for each class, and around 0 for background.
        """
        store = WindowStore(
            folder, origin={}, vectors={"fc7": Kept(width, "all")}, num_classes=CLASSES, precision="float32"
        )
        source = np.random.default_rng(0)
        for image in range(images):
            label = image % CLASSES
            rows = np.arange(count)
            overlap = np.where(rows == 0, 1.0, np.where(rows < 8, source.uniform(0.35, 0.9, count), 0.1 * (rows < 20)))
            own = cls.windows_of(np.where(overlap > 0, label, -1), overlap, given=rows == 0)
            vectors = source.normal(0, spread, (count, width))
            vectors[:, label] += 4 * overlap
            store.append(image, own, {"fc7": vectors})
        return store


@pytest.fixture(scope="session")
def stores() -> type[Stores]:
    """Makers of stores."""
    return Stores
