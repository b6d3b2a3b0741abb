"""Box regression in closed form: ridge regression of each class on whitened targets."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from detzoo.interfaces import BoxCoder
from detzoo.types import FeatureSpecs
from detzoo_rcnn.interfaces import Advance, RegionRegressor
from detzoo_rcnn.vectors import length_of, mean_norm
from detzoo_rcnn.window_store import WindowStore

Positive = Annotated[float, Field(gt=0)]
Matrix = NDArray[np.float64]


class Ridge(RegionRegressor):
    """For each class W of ``deltas = [x, 1] W``, from windows near its ground truth.

    Vectors x are scaled to a mean norm; targets are centred and whitened before the regression, which penalises the
    bias too, and the whitening is undone afterwards. Each window answers for the ground truth that it
    overlaps most, of whatever class.

    Args:
        features: the vectors of the region head.
        num_classes: K.
        box_coder: units of the targets.
        feature: the vector that is read.
        penalty: lambda.
        min_overlap: IoU that a window must exceed.
        ground_truth: learn from the ground-truth boxes too, whose targets are zeros (the release).
        norm: mean norm to which vectors are scaled.
        whiten: added to the variances before the root is taken.
        most_windows: windows of a class that are used at most, evenly chosen; the solution takes memory of their number
            squared, or of the vector's length squared if that is less.

    Source: Girshick et al. 2014 (arXiv:1311.2524), appendix C; rcnn ``rcnn_train_bbox_regressor.m``. Difference: there
    every window of a class is used, here ``most_windows`` at most.
    """

    def __init__(
        self,
        features: FeatureSpecs,
        num_classes: int,
        /,
        *,
        box_coder: BoxCoder,
        feature: str = "pool5",
        penalty: Positive = 1000.0,
        min_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.6,
        ground_truth: bool = False,
        norm: Positive = 20.0,
        whiten: Positive = 1e-3,
        most_windows: Annotated[int, Field(ge=1)] = 20000,
    ) -> None:
        super().__init__()
        self.coder, self.feature, self.min_overlap = box_coder, feature, min_overlap
        self.ground_truth = ground_truth
        self.penalty, self.norm, self.whiten, self.most_windows = penalty, norm, whiten, most_windows
        length = length_of(features, feature)
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", torch.zeros(num_classes, 4, length))
        self.register_buffer("bias", torch.zeros(num_classes, 4))

    def forward(self, vectors: Tensor) -> Tensor:
        """Deltas float32 [R,K,4] of vectors [R,D]."""
        flat = vectors.float() @ self.weight.flatten(0, 1).T + self.bias.flatten()
        return flat.view(-1, *self.bias.shape)

    def fit(self, windows: WindowStore, advance: Advance) -> dict[str, float]:
        """Solve for each class; the numbers are windows used and the share of the targets' variance explained."""
        scale = self.norm / mean_norm(windows, self.feature, near=True)
        places = self.places(windows, advance)
        used = 0
        explained: list[float] = []
        for label, chosen in enumerate(places):
            x, targets = self.examples(windows, chosen)
            if not len(x):
                continue  # a class without examples keeps its boxes as they are
            weight, bias, share = solve(x * scale, targets, penalty=self.penalty, whiten=self.whiten)
            self.weight[label] = torch.from_numpy(weight.T * scale)
            self.bias[label] = torch.from_numpy(bias)
            used += len(x)
            explained.append(share)
        return {"windows": float(used), "variance explained": float(np.mean(explained)) if explained else 0.0}

    def places(self, windows: WindowStore, advance: Advance) -> list[NDArray[np.int64]]:
        """For each class (image, row among its near windows) [m,2] of the windows to learn from."""
        found: list[list[NDArray[np.int64]]] = [[] for _ in range(len(self.bias))]
        for place in range(len(windows)):
            own = windows.windows(place)
            labels = own.labels[own.near]
            for label in np.unique(labels):
                rows = np.flatnonzero(labels == label)
                found[label].append(np.stack([np.full_like(rows, place), rows], axis=1))
            advance(1)
        joined = [np.concatenate([np.zeros((0, 2), np.int64), *parts]) for parts in found]
        return [rows[evenly(len(rows), self.most_windows)] for rows in joined]

    def examples(self, windows: WindowStore, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float32], Matrix]:
        """Vectors [m,D] and targets [m,4] in the coder's units, of near windows (image, row)."""
        vectors = [np.zeros((0, self.weight.shape[2]), np.float32)]
        targets = [np.zeros((0, 4))]
        for place in np.unique(chosen[:, 0]):
            rows = chosen[chosen[:, 0] == place, 1]
            own = windows.windows(int(place))
            vectors.append(windows.read(self.feature, int(place), near=True)[rows])
            truth, boxes = (torch.from_numpy(part[own.near][rows]) for part in (own.truth, own.boxes))
            targets.append(self.coder.encode(truth, boxes, boxes.new_ones(len(boxes))).double().numpy())
        return np.concatenate(vectors), np.concatenate(targets)


def solve(x: NDArray[np.floating], targets: Matrix, *, penalty: float, whiten: float) -> tuple[Matrix, Matrix, float]:
    """Ridge regression of centred, whitened targets.

    Args:
        x: [m,D].
        targets: [m,4].
        penalty: lambda, of the bias too.
        whiten: added to the eigenvalues of the targets' covariance.

    Returns:
        weight [D,4] and bias [4] of ``targets = x weight + bias``, and the share of variance explained.
    """
    from detzoo_rcnn.solvers import Ridge as Solver

    mean = targets.mean(axis=0)
    centred = targets - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(targets))
    root = np.sqrt(values + whiten)
    white, back = vectors / root @ vectors.T, vectors * root @ vectors.T
    wide = np.concatenate([x.astype(np.float64), np.ones((len(x), 1))], axis=1)
    solver = Solver(alpha=penalty, fit_intercept=False, solver="cholesky", copy_X=False).fit(wide, centred @ white)
    weight = np.atleast_2d(solver.coef_).T @ back  # [D+1,4]
    left = float(((centred - wide @ weight) ** 2).sum())
    total = float((centred**2).sum())
    return weight[:-1], weight[-1] + mean, 1 - left / total if total > 0 else 0.0


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """``most`` of ``count`` rows, evenly spread; all where there are no more."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)
