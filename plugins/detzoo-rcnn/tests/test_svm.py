"""SVMs and their mining: against scikit-learn on all examples at once, and across interruptions."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.svm import LinearSVC

from detzoo.errors import RecipeError
from detzoo.types import FeatureSpec
from detzoo_rcnn import mining
from detzoo_rcnn.mining import MiningRules
from detzoo_rcnn.svm import LinearSvm
from detzoo_rcnn.vectors import mean_norm
from detzoo_rcnn.window_store import Kept, WindowStore

RULES = MiningRules(positive_overlap=None, negative_overlap=0.3, hard=-1.0001, evict=-1.2, retrain_every=2000, passes=1)
EVERYTHING = {"hard": -1e9, "evict": -1e9, "retrain_every": 10**9}


def svm(**changes: Any) -> LinearSvm:
    return LinearSvm({"fc7": FeatureSpec(8, 1.0)}, 3, **changes)


def all_examples(store: WindowStore, label: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors scaled to a mean norm of 20, and +1 and -1: ground truth against windows below IoU 0.3."""
    positives, negatives = [], []
    for place in range(len(store)):
        own, values = store.windows(place), store.read("fc7", place)
        positives.append(values[own.given & (own.labels == label)])
        negatives.append(values[own.class_overlap[:, label] < 0.3])
    x = np.concatenate([*positives, *negatives])
    y = np.where(np.arange(len(x)) < sum(map(len, positives)), 1, -1)
    together = np.concatenate([store.read("fc7", place) for place in range(len(store))])
    return x * np.float32(20 / np.linalg.norm(together, axis=1).mean()), y


def test_without_images_nothing_is_ever_seen(stores: Any, tmp_path: Path) -> None:
    store = stores.mixed(tmp_path, images=0)
    fitted = svm()

    numbers = fitted.fit(store, lambda _: None)

    assert numbers["fits"] == 0
    assert torch.equal(fitted(torch.randn(4, 8)), torch.full((4, 3), -10.0))


def test_scores_equal_decision_functions_of_liblinear(stores: Any, tmp_path: Path) -> None:
    """Every negative in the cache: each class is one LinearSVC on ground truth against IoU < 0.3, at norm 20."""
    store = stores.mixed(tmp_path)
    fitted = svm(**EVERYTHING)
    fitted.fit(store, lambda _: None)
    vectors = store.read("fc7", 3)

    margins = fitted(torch.from_numpy(vectors)).numpy()

    scale = 20 / mean_norm(store, "fc7")
    for label in range(3):
        x, y = all_examples(store, label)
        own = LinearSVC(C=1e-3, loss="hinge", intercept_scaling=10, class_weight={1: 2}, random_state=0, max_iter=2000)
        expected = own.fit(x, y).decision_function(vectors * scale)
        np.testing.assert_allclose(margins[:, label], expected, rtol=1e-4, atol=1e-4)


def test_mining_finds_the_svm_of_all_negatives(stores: Any, tmp_path: Path) -> None:
    """The hinge loss does not see what lies below -1, so that leaving it out changes little."""
    store = stores.mixed(tmp_path)
    everything, mined = svm(**EVERYTHING), svm(retrain_every=50, passes=3)
    everything.fit(store, lambda _: None)
    vectors = torch.from_numpy(np.concatenate([store.read("fc7", place) for place in range(len(store))]))

    mined.fit(store, lambda _: None)

    a, b = everything(vectors), mined(vectors)
    assert float((a - b).abs().mean() / a.std()) < 0.02


def test_mining_never_reads_all_vectors_at_once(stores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stores.mixed(tmp_path, images=60, spread=0.3)
    read: list[int] = []
    real = store.rows

    def noted(name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        read.append(len(rows))
        return np.asarray(real(name, rows))

    monkeypatch.setattr(store, "rows", noted)

    numbers = svm(retrain_every=100).fit(store, lambda _: None)

    assert store.count == 2400
    assert max(read) < 300
    assert numbers["hard negatives"] < 300


def test_interrupted_mining_ends_with_the_same_svms(
    stores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "SAVE_EVERY", 0.0)
    whole, cut = svm(retrain_every=60), svm(retrain_every=60)
    whole.fit(stores.mixed(tmp_path / "a"), lambda _: None)
    store = stores.mixed(tmp_path / "b")
    seen: list[int] = []

    def stop(count: int) -> None:
        seen.append(count)
        if len(seen) == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.fit(store, stop)
    assert not cut.fitted
    rest: list[int] = []
    cut.fit(store, rest.append)

    assert rest[0] == 12  # the state was written before the interruption was looked for
    assert sum(rest) == 30
    assert torch.equal(cut.weight, whole.weight)
    assert torch.equal(cut.bias, whole.bias)


def test_a_state_of_other_rules_is_not_gone_on_with(
    stores: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining, "SAVE_EVERY", 0.0)
    svm().fit(stores.mixed(tmp_path), lambda _: None)
    done: list[int] = []

    svm(penalty=0.01).fit(opened_again(tmp_path), done.append)

    assert done[0] == 0


def opened_again(folder: Path) -> WindowStore:
    return WindowStore(folder, origin={}, vectors={"fc7": Kept(8, "all")}, num_classes=3, precision="float32")


def test_positives_are_ground_truth_alone_unless_told(stores: Any) -> None:
    own = stores.windows_of(
        np.array([0, 0, 0, 1]), np.array([1.0, 0.8, 0.4, 0.9]), given=np.array([True, False, False, False])
    )

    assert RULES.positives(own, 0).tolist() == [True, False, False, False]
    loose = MiningRules(**{**vars(RULES), "positive_overlap": 0.5})
    assert loose.positives(own, 0).tolist() == [True, True, False, False]
    assert loose.positives(own, 1).tolist() == [False, False, False, True]


def test_between_the_thresholds_windows_are_neither(stores: Any) -> None:
    own = stores.windows_of(np.array([0, 0, 1, -1]), np.array([0.29, 0.3, 0.9, 0.0]))

    assert RULES.negatives(own).tolist() == [[True] * 3, [False, True, True], [True, False, True], [True] * 3]


def test_a_class_without_objects_is_never_seen(stores: Any, tmp_path: Path) -> None:
    store = stores.mixed(tmp_path, images=2)  # classes 0 and 1
    fitted = svm(**EVERYTHING)

    numbers = fitted.fit(store, lambda _: None)

    assert bool((fitted(torch.randn(5, 8))[:, 2] == -10).all())
    negatives = [RULES.negatives(store.windows(place))[:, :2].sum() for place in range(2)]
    assert numbers["hard negatives"] == sum(negatives)  # of classes 0 and 1: those of class 2 would never be used


def test_a_vector_that_the_head_does_not_have() -> None:
    with pytest.raises(RecipeError) as caught:
        svm(feature="fc8")

    assert str(caught.value) == 'feature: the head has no vector "fc8" (did you mean "fc7"?). It has: fc7'


def test_the_defaults_are_the_releases() -> None:
    """``rcnn_train.m`` and ``rcnn_config.m``."""
    defaults = {
        name: p.default for name, p in inspect.signature(LinearSvm).parameters.items() if p.kind is p.KEYWORD_ONLY
    }

    wanted = {"penalty": 1e-3, "bias": 10.0, "positive_weight": 2.0, "negative_overlap": 0.3, "norm": 20.0}
    wanted |= {"hard": -1.0001, "evict": -1.2, "retrain_every": 2000, "passes": 1}
    assert wanted.items() <= defaults.items()
