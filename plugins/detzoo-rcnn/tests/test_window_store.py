"""Windows and vectors on the disk: whole images or none, whatever happened while they were written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detzoo.errors import MachineError, TrainingError
from detzoo_rcnn import window_store
from detzoo_rcnn.window_store import Kept, Windows, WindowStore, human

VECTORS = {"fc7": Kept(4, "all"), "pool5": Kept(3, "near")}
ORIGIN = {"network": "abc", "proposals": {"type": "image_level"}}


def opened(folder: Path, **changes: Any) -> WindowStore:
    return WindowStore(folder, **{"origin": ORIGIN, "vectors": VECTORS, "num_classes": 2, **changes})


def windows(count: int, *, near: int = 0, seed: int = 0) -> Windows:
    rows = np.arange(count)
    boxes = np.random.default_rng(seed).uniform(0, 100, (count, 4)).astype(np.float32)
    return Windows(
        boxes=boxes,
        truth=boxes + 1,
        labels=rows % 2 - (rows == 0),
        overlap=(rows / 10).astype(np.float32),
        class_overlap=np.stack([rows / 10, rows / 20], axis=1).astype(np.float32),
        given=rows == count - 1,
        ignored=rows == 1,
        near=rows < near,
    )


def vectors(count: int, near: int, seed: int = 0) -> dict[str, Any]:
    source = np.random.default_rng(seed)
    return {"fc7": source.normal(size=(count, 4)), "pool5": source.normal(size=(near, 3))}


def test_an_empty_store(tmp_path: Path) -> None:
    store = opened(tmp_path / "features")

    assert (len(store), store.count, store.indices) == (0, 0, [])


def test_an_image_without_windows(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append(3, windows(0), vectors(0, 0))

    assert store.indices == [3]
    assert len(store.windows(0)) == 0
    assert store.read("fc7", 0).shape == (0, 4)
    assert store.read("pool5", 0, near=True).shape == (0, 3)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = opened(tmp_path, precision="float32")
    written = {
        index: (windows(count, near=near, seed=index), vectors(count, near, index))
        for index, count, near in ((0, 5, 2), (2, 3, 0), (7, 4, 4))
    }
    for index, (own, values) in written.items():
        store.append(index, own, values)

    again = opened(tmp_path, precision="float32")

    assert again.indices == [0, 2, 7]
    assert again.count == 12
    for place, (own, values) in enumerate(written.values()):
        found = again.windows(place)
        for name, column in vars(own).items():
            np.testing.assert_array_equal(getattr(found, name), column, err_msg=name)
        np.testing.assert_array_equal(again.read("fc7", place), values["fc7"].astype(np.float32))
        np.testing.assert_array_equal(again.read("fc7", place, near=True), values["fc7"].astype(np.float32)[own.near])
        np.testing.assert_array_equal(again.read("pool5", place, near=True), values["pool5"].astype(np.float32))
    together = np.concatenate([values["fc7"] for _, values in written.values()]).astype(np.float32)
    chosen = np.array([11, 0, 5, 5])
    np.testing.assert_array_equal(again.rows("fc7", chosen), together[chosen])
    assert [again.first_row(place) for place in range(3)] == [0, 5, 8]


def test_half_an_image_is_cut_off(tmp_path: Path) -> None:
    """A process that was killed left vectors and windows, and half a row of the list of images."""
    store = opened(tmp_path)
    store.append(0, windows(5, near=2), vectors(5, 2))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for name in ("fc7", "pool5", "windows", "images"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\1" * 11)

    again = opened(tmp_path)

    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    again.append(1, windows(2, near=1), vectors(2, 1))
    assert again.indices == [0, 1]
    assert opened(tmp_path).read("fc7", 1).shape == (2, 4)


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    store.append(0, windows(5, near=2), vectors(5, 2))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    real = window_store._grow

    def full(path: Path, values: Any) -> None:
        if path.name == "windows":
            with path.open("ab") as file:
                file.write(values.tobytes()[:7])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, values)

    monkeypatch.setattr(window_store, "_grow", full)
    with pytest.raises(MachineError) as caught:
        store.append(1, windows(5, near=2), vectors(5, 2))

    assert str(caught.value) == (
        f"{tmp_path}: the disk is full after 1 images ({store.size_in_words}). Make room and go on with --resume; or "
        "start again with fewer windows (proposals.training_top_k) or store: float16"
    )
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_another_origin_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).append(0, windows(2), vectors(2, 0))

    with pytest.raises(TrainingError) as caught:
        opened(tmp_path, origin=ORIGIN | {"network": "xyz"}, num_classes=3)

    assert str(caught.value) == (
        f"{tmp_path}: holds features of something else:\n"
        "  origin.network: 'abc' in the store, 'xyz' now\n"
        "  num_classes: 2 in the store, 3 now\n"
        f"Nothing was reused or changed. Remove {tmp_path} to make them again, or restore what they were made of."
    )
    assert opened(tmp_path).indices == [0]


def test_the_room_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    # 10 images of 100 windows: 4 half floats each and 3 of a tenth of them, and a record of 51 bytes
    needed = store.bytes_at_most(10, 100)
    assert needed == int(1000 * ((4 + 0.3) * 2 + store._record.itemsize))

    class Usage:
        free = 20_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    assert store.check_room(10_000) == (
        f"features need up to 10.0 kB of the {human(20_000 + store.size)} that are free in {tmp_path}"
    )
    with pytest.raises(TrainingError) as caught:
        store.check_room(needed)
    assert str(caught.value) == (
        f"{tmp_path}: the features need up to {human(needed)}, {human(20_000 + store.size)} are free there. Make room, "
        "choose another --out, fewer windows (proposals.training_top_k), store: float16, or a shorter vector "
        "(classifier.feature, regressor.feature)"
    )


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (3.21e9, "3.2 GB"), (1.6e14, "160.0 TB")],
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert human(size) == words
