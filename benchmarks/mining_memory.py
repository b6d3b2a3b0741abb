"""Memory of hard-negative mining: what is held beside the vectors on the disk.

    python benchmarks/mining_memory.py [--images 400] [--windows 1000] [--width 1024] [--out FILE]

Writes a store of windows to a temporary folder, then fits SVMs on it and watches the process's anonymous memory, which
is what it holds itself; pages of the vectors that the operating system keeps at hand are its cache, and counted apart.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from detzoo.types import FeatureSpec
from detzoo_rcnn.window_store import Kept, Windows, WindowStore

CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from detzoo_rcnn.solvers import LinearSVC  # its import is not mining's memory
    from detzoo_rcnn.svm import LinearSvm

    assert LinearSVC
    with tempfile.TemporaryDirectory() as folder:
        store = made(Path(folder), args.images, args.windows, args.width)
        svm = LinearSvm({"fc7": FeatureSpec(args.width, 1.0)}, CLASSES)
        before = resident()
        peak = Peak()
        begin = time.perf_counter()
        with peak:
            numbers = svm.fit(store, lambda _: None)
        row: dict[str, Any] = {
            "images": args.images,
            "windows": store.count,
            "width": args.width,
            "vectors_on_disk_mib": (store.folder / "fc7").stat().st_size / 2**20,
            "vectors_in_float32_mib": store.count * args.width * 4 / 2**20,
            "held_before_mib": before["RssAnon"],
            "held_at_most_mib": peak.anonymous,
            "seconds": time.perf_counter() - begin,
            **numbers,
        }
    row = {name: round(value, 1) if isinstance(value, float) else value for name, value in row.items()}
    row["held_by_mining_mib"] = round(row["held_at_most_mib"] - row["held_before_mib"], 1)
    print(json.dumps(row))
    if args.out:
        args.out.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def made(folder: Path, images: int, count: int, width: int) -> WindowStore:
    """An object of one class in each image, some windows that half overlap it, background of noise."""
    store = WindowStore(folder, origin={}, vectors={"fc7": Kept(width, "all")}, num_classes=CLASSES)
    source = np.random.default_rng(0)
    centres = source.normal(0, 1, (CLASSES, width))
    for image in range(images):
        label, rows = image % CLASSES, np.arange(count)
        overlap = np.where(rows == 0, 1.0, np.where(rows < 30, source.uniform(0.2, 0.9, count), 0.0)).astype(np.float32)
        by_class = np.zeros((count, CLASSES), np.float32)
        by_class[:, label] = overlap
        boxes = source.uniform(0, 300, (count, 4)).astype(np.float32)
        own = Windows(
            boxes=boxes,
            truth=boxes,
            labels=np.where(overlap > 0, label, -1),
            overlap=overlap,
            class_overlap=by_class,
            given=rows == 0,
            ignored=np.zeros(count, np.bool_),
            near=overlap > 0.6,
        )
        vectors = source.normal(0, 1, (count, width)) + overlap[:, None] * centres[label]
        store.append(image, own, {"fc7": vectors})
    return store


def resident() -> dict[str, float]:
    """MiB of this process that are its own (RssAnon) and pages of files (RssFile)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


class Peak:
    """The most that the process held within the block, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.anonymous = 0.0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            self.anonymous = max(self.anonymous, resident()["RssAnon"])
            time.sleep(0.005)


if __name__ == "__main__":
    main()
