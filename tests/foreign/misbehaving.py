"""Foreign detectors of the tests: one that behaves, one that misbehaves as the first byte of an image says.

Loaded by path in a process of its own; nothing of detzoo is imported.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np

BOX = [[2.0, 3.0, 12.0, 13.0]]


class Painted:
    """Finds the red and the green rectangle of an image by their colours: exact boxes, in px."""

    names = ("red", "green")

    def __init__(self, shift: str = "0") -> None:
        self.shift = float(shift)

    def __call__(self, images: list[Any]) -> list[Any]:
        return [self._one(image) for image in images]

    def _one(self, image: Any) -> tuple[Any, Any, Any]:
        boxes, labels = [], []
        for label in range(2):
            rows, columns = np.nonzero(image[..., label] > 127)
            if len(rows):
                edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                boxes.append([float(edge) + self.shift for edge in edges])
                labels.append(label)
        return boxes, [0.9] * len(boxes), labels

    def describe(self) -> dict[str, Any]:
        return {"version": "1.2", "parameters": 0, "path": os}  # the last is no plain value


def make() -> Painted:
    """A function that makes the detector."""
    return Painted()


def without_names(images: list[Any]) -> list[Any]:
    return [([], [], []) for _ in images]


def broken_when_made() -> None:
    raise RuntimeError("weights are missing\nand a second line")


def leaves() -> None:
    sys.exit("no licence")


class Misbehaving:
    """One way for each value of an image's first byte."""

    names = ("a", "b", None)

    def __call__(self, images: list[Any]) -> Any:
        way = WAYS[int(images[0][0, 0, 0])]
        images[0][:] = 77  # it may write into what it was given
        return getattr(self, way)(images)

    def fine(self, images: list[Any]) -> Any:
        print("a lot of words" * 20_000)  # more than a pipe holds
        return [(BOX, [0.5], [1])] * len(images)

    def raises(self, images: list[Any]) -> Any:
        raise ValueError("cannot see\nanything")

    def nan(self, images: list[Any]) -> Any:
        return [([[2.0, 3.0, float("nan"), 13.0]], [0.5], [0])]

    def nan_scores(self, images: list[Any]) -> Any:
        return [(BOX, [float("inf")], [0])]

    def outside(self, images: list[Any]) -> Any:
        return [([*BOX, [200.0, 3.0, 220.0, 13.0]], [0.5, 0.4], [0, 0])]

    def relative(self, images: list[Any]) -> Any:
        return [([[0.1, 0.2, 0.5, 0.6]], [0.5], [0])]

    def turned(self, images: list[Any]) -> Any:
        return [([[12.0, 3.0, 6.0, 13.0]], [0.5], [0])]

    def shapes(self, images: list[Any]) -> Any:
        return [(np.zeros((3, 5)), np.zeros(3), np.zeros(3))]

    def lengths(self, images: list[Any]) -> Any:
        return [(np.zeros((3, 4)), np.zeros(2), np.zeros(3))]

    def labels(self, images: list[Any]) -> Any:
        return [(BOX, [0.5], [3])]

    def halves(self, images: list[Any]) -> Any:
        return [(BOX, [0.5], [0.5])]

    def logits(self, images: list[Any]) -> Any:
        return [(BOX, [3.7], [0])]

    def words(self, images: list[Any]) -> Any:
        return [(BOX, [0.5], ["cat"])]

    def nothing(self, images: list[Any]) -> Any:
        return None

    def too_few(self, images: list[Any]) -> Any:
        return []

    def leaves(self, images: list[Any]) -> Any:
        sys.exit(3)

    def dies(self, images: list[Any]) -> Any:
        sys.stderr.write("out of memory in kernel\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)

    def ends(self, images: list[Any]) -> Any:
        os._exit(7)

    def hangs(self, images: list[Any]) -> Any:
        while True:
            time.sleep(0.01)

    def describe(self) -> dict[str, Any]:
        return {"score_threshold": 0.2}


WAYS = tuple(name for name in vars(Misbehaving) if not name.startswith("_") and name not in ("names", "describe"))


def always_nan(images: list[Any]) -> Any:
    """NaN for whatever it is shown."""
    return [(np.full((1, 4), np.nan), np.ones(1), np.zeros(1)) for _ in images]


always_nan.names = ["red", "green"]  # type: ignore[attr-defined]


def hangs_at_once(images: list[Any]) -> Any:
    while True:
        time.sleep(0.01)


def dies_at_once(images: list[Any]) -> Any:
    os.kill(os.getpid(), signal.SIGSEGV)


def sleeps(images: list[Any]) -> Any:
    time.sleep(0.02)
    return [([], [], []) for _ in images]


sleeps.names = ["a"]  # type: ignore[attr-defined]
