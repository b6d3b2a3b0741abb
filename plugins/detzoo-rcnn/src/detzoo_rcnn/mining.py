"""Hard-negative mining: SVMs of all classes learn from windows on the disk, of which only few are ever in memory.

Letters: n windows of an image, K classes, D length of a vector.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from detzoo.runtime.atomic_files import write_bytes
from detzoo_rcnn.interfaces import Advance
from detzoo_rcnn.window_store import Windows, WindowStore

STATE: Final = "mining.safetensors"
SAVE_EVERY: Final = 60.0
"""Seconds between states on the disk."""
MOST_ITERATIONS: Final = 2000

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Solver:
    """liblinear's L2-regularised hinge loss, through scikit-learn.

    Args:
        penalty: C.
        bias: value of the constant feature.
        positive_weight: factor of C for positives.
        seed: of the coordinate descent.
    """

    penalty: float
    bias: float
    positive_weight: float
    seed: int

    def solve(
        self, positives: NDArray[np.float32], negatives: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool]:
        """Weights [D], bias, and whether the descent converged, from vectors [p,D] and [q,D], none of them empty."""
        from detzoo_rcnn.solvers import ConvergenceWarning, LinearSVC

        svm = LinearSVC(
            C=self.penalty,
            loss="hinge",
            dual=True,
            intercept_scaling=self.bias,
            class_weight={1: self.positive_weight, -1: 1.0},
            max_iter=MOST_ITERATIONS,
            random_state=self.seed,
        )
        x = np.concatenate([positives, negatives])
        y = np.concatenate([np.ones(len(positives)), -np.ones(len(negatives))])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            svm.fit(x, y)
        return svm.coef_[0], float(svm.intercept_[0]), not caught


@dataclass(frozen=True)
class MiningRules:
    """Which windows are examples, and when; see ``LinearSvm``."""

    positive_overlap: float | None
    negative_overlap: float
    hard: float
    evict: float
    retrain_every: int
    passes: int

    def positives(self, windows: Windows, label: int) -> NDArray[np.bool_]:
        """bool [n]: ground truth of a class and, by the rule, what overlaps it enough."""
        truth: NDArray[np.bool_] = windows.given & (windows.labels == label) & (windows.overlap > 0)
        if self.positive_overlap is None:
            return truth
        found: NDArray[np.bool_] = truth | (windows.class_overlap[:, label] >= self.positive_overlap)
        return found

    def negatives(self, windows: Windows) -> NDArray[np.bool_]:
        """bool [n,K]: windows that overlap no object of a class enough, nor anything that is to be ignored."""
        far = windows.class_overlap < self.negative_overlap
        wanted: NDArray[np.bool_] = far & ~windows.ignored[:, None]
        return wanted


class Mining:
    """SVMs of all classes, mined together.

    It starts from all negatives of the first images; behind them a negative joins the cache of a class when it lies
    above ``hard``, and an SVM is fitted again when enough have joined; then those below ``evict`` leave. The caches
    hold numbers of rows, and vectors are read from the disk when an SVM is fitted.

    Args:
        windows: on the disk.
        feature: the vector that is learnt from.
        scale: factor of all vectors.
        classes: K.
        rules: which windows are examples.
        solver: fits one SVM.
    """

    def __init__(
        self,
        windows: WindowStore,
        feature: str,
        *,
        scale: float,
        classes: int,
        rules: MiningRules,
        solver: Solver,
    ) -> None:
        self.windows, self.feature, self.scale = windows, feature, scale
        self.rules, self.solver = rules, solver
        length = windows.vectors[feature].width
        self.weight, self.bias = np.zeros((classes, length)), np.zeros(classes)
        self.cache: list[Rows] = [np.zeros(0, np.int64) for _ in range(classes)]
        self.added = np.zeros(classes, np.int64)
        self.ready = np.zeros(classes, bool)  # whether a class has had an SVM yet
        self.counts = np.zeros(3, np.int64)  # images done over all passes, fits, fits that did not converge
        self.positives = self._positives()

    def run(self, advance: Advance) -> dict[str, float]:
        """Mine all passes and fit every class a last time."""
        self._restore()
        advance(int(self.counts[0]))
        saved = time.monotonic()
        while self.counts[0] < self.rules.passes * len(self.windows):
            self._image(int(self.counts[0]) % len(self.windows))
            self.counts[0] += 1
            if time.monotonic() - saved > SAVE_EVERY:
                self._save()
                saved = time.monotonic()
            advance(1)
        for label in range(len(self.bias)):
            self._fit(label)
        return {
            "positives": float(sum(map(len, self.positives))),
            "hard negatives": float(sum(map(len, self.cache))),
            "fits": float(self.counts[1]),
            "fits that did not converge": float(self.counts[2]),
        }

    def _image(self, place: int) -> None:
        own = self.windows.windows(place)
        wanted = self.rules.negatives(own)  # [n,K]
        margins = self._read(place) @ self.weight.T + self.bias
        hard = wanted & ((margins > self.rules.hard) | ~self.ready)
        hard[:, [not len(rows) for rows in self.positives]] = False  # a class without objects needs no negatives
        first = self.windows.first_row(place)
        for label in np.flatnonzero(hard.any(axis=0)).tolist():
            new = np.setdiff1d(first + np.flatnonzero(hard[:, label]), self.cache[label], assume_unique=True)
            self.cache[label] = np.concatenate([self.cache[label], new])
            self.added[label] += len(new)
            if self.added[label] > self.rules.retrain_every:
                self._fit(label)

    def _fit(self, label: int) -> None:
        """Fit one class on its positives and its cache, and drop what has become easy."""
        if not len(self.cache[label]) or not len(self.positives[label]):
            self._without_examples(label)
            return
        positives, negatives = self._rows(self.positives[label]), self._rows(self.cache[label])
        self.weight[label], self.bias[label], converged = self.solver.solve(positives, negatives)
        margins = negatives @ self.weight[label] + self.bias[label]
        self.cache[label] = self.cache[label][margins >= self.rules.evict]
        self.added[label], self.ready[label] = 0, True
        self.counts[1:] += (1, not converged)

    def _without_examples(self, label: int) -> None:
        """A class that never occurs is never seen; one without any negative always is."""
        self.weight[label], self.bias[label] = 0.0, 1.0 if len(self.positives[label]) else -10.0

    def _positives(self) -> list[Rows]:
        found: list[list[Rows]] = [[] for _ in self.cache]
        for place in range(len(self.windows)):
            own = self.windows.windows(place)
            for label in np.unique(own.labels[own.labels >= 0]):
                rows = np.flatnonzero(self.rules.positives(own, int(label)))
                found[label].append(self.windows.first_row(place) + rows)
        return [np.concatenate([np.zeros(0, np.int64), *rows]) for rows in found]

    def _read(self, place: int) -> NDArray[np.float32]:
        return self.windows.read(self.feature, place) * np.float32(self.scale)

    def _rows(self, rows: Rows) -> NDArray[np.float32]:
        return self.windows.rows(self.feature, rows) * np.float32(self.scale)

    @property
    def _path(self) -> Path:
        return self.windows.folder / STATE

    def _described(self) -> dict[str, str]:
        settled = {"rules": asdict(self.rules), "solver": asdict(self.solver), "scale": self.scale}
        return {"mining": json.dumps(settled | {"feature": self.feature, "images": len(self.windows)})}

    def _save(self) -> None:
        tensors: dict[str, Any] = {
            "weight": self.weight,
            "bias": self.bias,
            "added": self.added,
            "ready": self.ready,
            "counts": self.counts,
        }
        tensors |= {f"cache.{label}": rows for label, rows in enumerate(self.cache)}
        write_bytes(self._path, save(tensors, metadata=self._described()))

    def _restore(self) -> None:
        """Go on from the state on the disk, where it is one of this very mining."""
        if not self._path.is_file():
            return
        with safe_open(self._path, framework="numpy") as file:
            if (file.metadata() or {}) != self._described():
                return
            self.weight, self.bias = file.get_tensor("weight"), file.get_tensor("bias")
            self.added, self.ready = file.get_tensor("added"), file.get_tensor("ready")
            self.counts = file.get_tensor("counts")
            self.cache = [file.get_tensor(f"cache.{label}") for label in range(len(self.cache))]
