"""Windows of a dataset and vectors of them on the disk, image by image: what SVMs and regressors learn from.

A folder of flat files that only grow. ``images`` is written last, one row per image, so whenever it was killed, an
image is in the store whole or not at all; what stands beyond the last row is cut off when the store is opened again.
Vectors are read through memory maps: the operating system holds as much of them as it has room for.

Letters: n windows of an image, K classes, D length of a vector.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import MachineError, TrainingError
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.machine_failures import machine_failure

FORMAT: Final = 1
Precision = Literal["float16", "float32"]
_DESCRIPTION: Final = "store.json"
_IMAGES: Final = "images"
_WINDOWS: Final = "windows"
_FIELDS: Final = [
    ("box", "<f4", 4),
    ("truth", "<f4", 4),
    ("label", "<i4"),
    ("overlap", "<f4"),
    ("given", "?"),
    ("ignored", "?"),
    ("near", "?"),
]


@dataclass(frozen=True)
class Windows:
    """Windows of one image.

    Args:
        boxes: float32 [n,4] xyxy network px.
        truth: float32 [n,4] the ground truth that each overlaps most; the window itself where it overlaps none.
        labels: int64 [n] its class; -1 where it overlaps none.
        overlap: float32 [n] IoU with it.
        class_overlap: float32 [n,K] highest IoU with ground truth of each class.
        given: bool [n] whether the window is a ground-truth box.
        ignored: bool [n] whether it overlaps ground truth that is to be ignored, such as a crowd.
        near: bool [n] whether it is near enough to ground truth for box regression to learn from.
    """

    boxes: NDArray[np.float32]
    truth: NDArray[np.float32]
    labels: NDArray[np.int64]
    overlap: NDArray[np.float32]
    class_overlap: NDArray[np.float32]
    given: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    near: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Kept:
    """A vector that is kept on the disk.

    Args:
        width: D.
        of: of all windows, or of those near ground truth alone.
    """

    width: int
    of: Literal["all", "near"]


class WindowStore:
    """A folder of windows and vectors.

    Args:
        folder: made if need be.
        origin: plain values that say what the windows and vectors come from; a store of another origin is rejected.
        vectors: what is kept, by name.
        num_classes: K.
        precision: of the vectors on the disk.

    Raises:
        TrainingError: the folder holds a store of another origin.
    """

    def __init__(
        self,
        folder: Path,
        *,
        origin: Mapping[str, Any],
        vectors: Mapping[str, Kept],
        num_classes: int,
        precision: Precision = "float16",
    ) -> None:
        self.folder, self.vectors, self.num_classes = folder, dict(vectors), num_classes
        self.dtype = np.dtype(precision)
        self._record = np.dtype([*_FIELDS, ("class_overlap", "<f4", (num_classes,))])
        described = {
            "format": FORMAT,
            "origin": dict(origin),
            "vectors": {name: {"width": kept.width, "of": kept.of} for name, kept in self.vectors.items()},
            "num_classes": num_classes,
            "precision": precision,
        }
        described = json.loads(json.dumps(described))
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / _DESCRIPTION
        if place.is_file():
            _check_same(_stored(place), described, folder)
        else:
            write_text(place, json.dumps(described, indent=1))
        self._images = self._read_images()
        self._cut()
        self._maps: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        """Images in the store."""
        return len(self._images)

    @property
    def indices(self) -> list[int]:
        """Position of each image in the dataset, in the order of the store."""
        return [int(row) for row in self._images[:, 0]]

    @property
    def count(self) -> int:
        """Windows of all images."""
        return int(self._images[:, 1].sum())

    def append(self, index: int, windows: Windows, vectors: Mapping[str, NDArray[np.floating[Any]]]) -> None:
        """Add an image.

        Args:
            index: its position in the dataset.
            windows: n of them.
            vectors: float [n,D], or [m,D] of the m that are near, for each name.

        Raises:
            MachineError: the disk is full, or failed otherwise; what was there before is whole.
        """
        record = np.zeros(len(windows), self._record)
        for field, values in (
            ("box", windows.boxes),
            ("truth", windows.truth),
            ("label", windows.labels),
            ("overlap", windows.overlap),
            ("given", windows.given),
            ("ignored", windows.ignored),
            ("near", windows.near),
            ("class_overlap", windows.class_overlap),
        ):
            record[field] = values
        near = int(windows.near.sum())
        try:
            for name, kept in self.vectors.items():
                expected = (len(windows) if kept.of == "all" else near, kept.width)
                assert vectors[name].shape == expected, f"{name}: {vectors[name].shape} instead of {expected}"
                _grow(self.folder / name, np.ascontiguousarray(vectors[name], self.dtype))
            _grow(self.folder / _WINDOWS, record)
            row = np.array([[index, len(windows), near]], "<i8")
            _grow(self.folder / _IMAGES, row)
        except OSError as error:
            reason = machine_failure(error)
            if reason is None:
                raise
            self._cut()
            raise MachineError(
                f"{self.folder}: {reason} after {len(self)} images ({human(self.size)}). Make room and go on "
                "with --resume; or start again with fewer windows (proposals.training_top_k) or store: float16"
            ) from None
        self._images = np.concatenate([self._images, row])
        self._maps.clear()

    def windows(self, place: int) -> Windows:
        """Windows of the image at a place of the store."""
        start = self._start(place, 1)
        rows = self._map(_WINDOWS)[start : start + self._images[place, 1]]
        return Windows(
            boxes=rows["box"].copy(),
            truth=rows["truth"].copy(),
            labels=rows["label"].astype(np.int64),
            overlap=rows["overlap"].copy(),
            class_overlap=rows["class_overlap"].copy(),
            given=rows["given"].copy(),
            ignored=rows["ignored"].copy(),
            near=rows["near"].copy(),
        )

    def read(self, name: str, place: int, *, near: bool = False) -> NDArray[np.float32]:
        """Vectors [n,D] of the image at a place of the store.

        Args:
            name: which vector.
            place: of the image.
            near: those of the windows near ground truth alone; vectors that are kept of no others want it.
        """
        of_all = self.vectors[name].of == "all"
        assert near or of_all, f"{name} is kept of windows near ground truth alone"
        start, count = self._start(place, 1 if of_all else 2), self._images[place, 1 if of_all else 2]
        rows = self._map(name)[start : start + count]
        if near and of_all:
            rows = rows[self.windows(place).near]
        return rows.astype(np.float32)

    def rows(self, name: str, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [m,D] of some windows, by their row among all windows of the store."""
        order = np.argsort(chosen, kind="stable")  # the disk is read forwards
        found = np.empty((len(chosen), self.vectors[name].width), np.float32)
        found[order] = self._map(name)[chosen[order]]
        return found

    def first_row(self, place: int) -> int:
        """Row of an image's first window among all windows of the store."""
        return self._start(place, 1)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.stat().st_size for file in self.folder.iterdir() if file.is_file())

    @property
    def size_in_words(self) -> str:
        """The same: ``3.2 GB``."""
        return human(self.size)

    def bytes_at_most(self, images: int, windows: int) -> int:
        """Bytes that a dataset would need.

        Args:
            images: of the dataset.
            windows: of an image at most; vectors for box regression are reckoned for a tenth of them.
        """
        vectors = sum(k.width * (1 if k.of == "all" else 0.1) for k in self.vectors.values())
        return int(images * windows * (vectors * self.dtype.itemsize + self._record.itemsize))

    def check_room(self, needed: int) -> str:
        """A sentence about the room that the store will take.

        Raises:
            TrainingError: there is less on the disk.
        """
        free = shutil.disk_usage(self.folder).free + self.size
        if needed > free:
            raise TrainingError(
                f"{self.folder}: the features need up to {human(needed)}, {human(free)} are free there. Make room, "
                "choose another --out, fewer windows (proposals.training_top_k), store: float16, or a shorter vector "
                "(classifier.feature, regressor.feature)"
            )
        return f"features need up to {human(needed)} of the {human(free)} that are free in {self.folder}"

    def _start(self, place: int, column: int) -> int:
        return int(self._images[:place, column].sum())

    def _map(self, name: str) -> NDArray[Any]:
        known = self._maps.get(name)
        if known is None:
            path = self.folder / name
            record = name == _WINDOWS
            dtype = self._record if record else self.dtype
            width = 1 if record else self.vectors[name].width
            count = path.stat().st_size // (dtype.itemsize * width) if path.is_file() else 0
            shape = (count,) if record else (count, width)
            # an empty file cannot be mapped
            known = np.memmap(path, dtype, "r", shape=shape) if count else np.zeros(shape, dtype)
            self._maps[name] = known
        return known

    def _read_images(self) -> NDArray[np.int64]:
        path = self.folder / _IMAGES
        raw = path.read_bytes() if path.is_file() else b""
        return np.frombuffer(raw[: len(raw) // 24 * 24], "<i8").reshape(-1, 3).copy()

    def _cut(self) -> None:
        """Shorten every file to the images that are whole."""
        count, near = (int(self._images[:, column].sum()) for column in (1, 2))
        lengths = {_IMAGES: 24 * len(self._images), _WINDOWS: count * self._record.itemsize}
        for name, kept in self.vectors.items():
            lengths[name] = (count if kept.of == "all" else near) * kept.width * self.dtype.itemsize
        for name, length in lengths.items():
            path = self.folder / name
            if path.is_file() and path.stat().st_size > length:
                with path.open("r+b") as file:
                    file.truncate(length)


def human(size: float) -> str:
    """Bytes as text: ``3.2 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _grow(path: Path, values: NDArray[Any]) -> None:
    with path.open("ab") as file:
        file.write(values.tobytes())


def _stored(place: Path) -> dict[str, Any]:
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TrainingError(f"{place}: altered or damaged; remove {place.parent} to make the features again")
    return found


def _check_same(found: Any, wanted: dict[str, Any], folder: Path) -> None:
    from detzoo.runtime.differences import differences

    lines = [f"  {path}: {old!r} in the store, {new!r} now" for path, old, new in differences(found, wanted)]
    if lines:
        raise TrainingError(
            f"{folder}: holds features of something else:\n" + "\n".join(lines) + "\n"
            f"Nothing was reused or changed. Remove {folder} to make them again, or restore what they were made of."
        )
