"""Whitened ridge regression against the normal equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from detzoo.components.box_coders import CentreSize
from detzoo.types import FeatureSpec
from detzoo_rcnn.ridge import Ridge, evenly, solve
from detzoo_rcnn.window_store import Kept, WindowStore


def ridge(width: int = 6, **changes: float) -> Ridge:
    return Ridge({"pool5": FeatureSpec(width, 1.0)}, 3, box_coder=CentreSize(), **changes)  # type: ignore[arg-type]


def shifted_store(stores: Any, folder: Path, *, images: int = 10, count: int = 12, width: int = 6) -> WindowStore:
    """Windows of class 0 in even images and of class 1 in odd ones; truth beside each window, noise for vectors."""
    store = WindowStore(folder, origin={}, vectors={"pool5": Kept(width, "near")}, num_classes=3, precision="float32")
    source = np.random.default_rng(1)
    for image in range(images):
        overlap = np.where(np.arange(count) < 9, 0.7, 0.5)
        own = stores.windows_of(np.full(count, image % 2), overlap)
        own.truth[:] += source.normal(0, 4, own.truth.shape)
        store.append(image, own, {"pool5": source.normal(0, 2, (9, width))})
    return store


def test_without_examples_boxes_stay(stores: Any, tmp_path: Path) -> None:
    fitted = ridge()

    numbers = fitted.fit(shifted_store(stores, tmp_path, images=0), lambda _: None)

    assert numbers == {"windows": 0.0, "variance explained": 0.0}
    assert not fitted(torch.randn(3, 6)).any()


def test_the_solution_satisfies_the_normal_equations() -> None:
    """With Y whitened: (A'A + lambda I) W = A'Y for A = [x, 1], and the whitening is undone: an independent formula."""
    source = np.random.default_rng(0)
    x, targets = source.normal(size=(50, 6)), source.normal(size=(50, 4)) * [0.1, 0.2, 0.3, 0.4] + 0.5

    weight, bias, _ = solve(x, targets, penalty=1000.0, whiten=1e-3)

    mean = targets.mean(0)
    covariance = (targets - mean).T @ (targets - mean) / 50
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors @ np.diag(1 / np.sqrt(values + 1e-3)) @ vectors.T
    a = np.concatenate([x, np.ones((50, 1))], axis=1)
    left = a.T @ a + 1000 * np.eye(7)
    w = np.linalg.solve(left, a.T @ (targets - mean) @ whitening) @ np.linalg.inv(whitening)
    np.testing.assert_allclose(weight, w[:6], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(bias, w[6] + mean, rtol=1e-9, atol=1e-12)


def test_more_features_than_windows_give_the_same_solution() -> None:
    source = np.random.default_rng(2)
    x, targets = source.normal(size=(8, 30)), source.normal(size=(8, 4))

    weight, bias, _ = solve(x, targets, penalty=2.0, whiten=1e-3)

    a = np.concatenate([x, np.ones((8, 1))], axis=1)
    w = np.linalg.solve(a.T @ a + 2 * np.eye(31), a.T @ (targets - targets.mean(0)))
    np.testing.assert_allclose(np.vstack([weight, bias - targets.mean(0)]), w, rtol=1e-9, atol=1e-12)


def test_each_class_learns_from_its_windows_near_ground_truth(stores: Any, tmp_path: Path) -> None:
    store = shifted_store(stores, tmp_path)
    fitted = ridge(penalty=10.0)

    numbers = fitted.fit(store, lambda _: None)

    assert numbers["windows"] == 90  # 9 of 12 lie above 0.6, in ten images
    scale = 20 / np.mean([np.linalg.norm(store.read("pool5", i, near=True), axis=1).mean() for i in range(10)])
    for label in (0, 1):
        places = range(label, 10, 2)
        x = np.concatenate([store.read("pool5", i, near=True) for i in places])
        boxes, truth = (
            torch.from_numpy(np.concatenate([getattr(store.windows(i), name)[:9] for i in places]))
            for name in ("boxes", "truth")
        )
        targets = CentreSize().encode(truth, boxes, torch.ones(len(boxes))).double().numpy()
        weight, bias, _ = solve(x * scale, targets, penalty=10.0, whiten=1e-3)
        expected = x * scale @ weight + bias
        np.testing.assert_allclose(fitted(torch.from_numpy(x))[:, label].numpy(), expected, rtol=1e-4, atol=1e-6)
    assert not fitted.weight[2].any()


def test_the_most_windows_of_a_class(stores: Any, tmp_path: Path) -> None:
    fitted = ridge(most_windows=5)

    assert fitted.fit(shifted_store(stores, tmp_path), lambda _: None)["windows"] == 10


def test_rows_are_evenly_chosen() -> None:
    assert evenly(3, 5).tolist() == [0, 1, 2]
    assert evenly(9, 3).tolist() == [0, 4, 8]
