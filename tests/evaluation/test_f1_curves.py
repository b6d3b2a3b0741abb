"""F1 against confidence: hand-made cases, and a plain loop over thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detzoo.data import open_dataset
from detzoo.evaluation.f1_curves import THRESHOLDS, F1Curve, f1_curves, f1_of, mean_curve

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 9, "name": "absent"}]


def truth(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {"images": [{"id": 1}, {"id": 2}], "categories": CATEGORIES, "annotations": list(annotations)}


def box(category: int, x: float, image: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": [x, 0, 10, 10], **more}


def test_nothing() -> None:
    assert f1_curves([], truth()) == {}
    assert mean_curve({}) is None
    curves = f1_curves([], truth(box(1, 0)))
    assert list(curves) == [1]  # a class without objects has no F1
    assert not curves[1].f1.any()
    assert f1_of([], 1).tolist() == [0.0] * 101


def test_by_hand() -> None:
    # Two cats. Scores: .9 right, .6 false, .4 right.
    found = [box(1, 0, score=0.9), box(1, 50, score=0.6), box(1, 20, score=0.4), box(7, 0, score=0.8)]
    curve = f1_curves(found, truth(box(1, 0), box(1, 20)))[1]
    at = dict(zip(THRESHOLDS.tolist(), curve.f1.tolist(), strict=True))
    assert at[0.4] == pytest.approx(2 * 2 / (3 + 2))
    assert at[0.41] == at[0.6] == pytest.approx(2 * 1 / (2 + 2))
    assert at[0.61] == at[0.9] == pytest.approx(2 * 1 / (1 + 2))
    assert at[0.91] == 0
    assert curve.best == pytest.approx(0.8)
    assert curve.threshold == 0.2  # the middle of 0 to .4


def test_difficult_and_crowd_boxes_count_neither_way() -> None:
    annotations = [box(1, 0), box(1, 20, ignore=1), box(1, 40, iscrowd=1, area=100)]
    found = [box(1, 0, score=0.9), box(1, 20, score=0.9), box(1, 40, score=0.9), box(1, 41, score=0.8)]
    assert f1_curves(found, truth(*annotations))[1].best == 1.0


def test_the_stretch_of_the_best() -> None:
    f1 = np.zeros(101)
    f1[30:41] = f1[80:] = 0.5
    assert F1Curve(f1).threshold == 0.35
    f1[100] = 0.6
    assert F1Curve(f1).threshold == 1.0


def test_mean_of_the_classes() -> None:
    curves = {1: F1Curve(np.linspace(0, 1, 101)), 7: F1Curve(np.full(101, 0.5))}
    mean = mean_curve(curves)
    assert mean is not None
    assert mean.f1[[0, 100]].tolist() == [0.25, 0.75]


def iou(a: list[float], b: list[float]) -> float:
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(w, 0) * max(h, 0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def test_a_plain_loop_gives_the_same() -> None:
    """For every threshold from the start: drop what is below, match greedily, count."""
    dataset = open_dataset("shapes:size=128,train=1,val=1,test=6", "test")
    ground_truth = dataset.coco_ground_truth()
    random = np.random.default_rng(0)
    found = []
    for a in ground_truth["annotations"]:
        for _ in range(3):
            shift = random.uniform(-8, 8, 2)
            b = [a["bbox"][0] + shift[0], a["bbox"][1] + shift[1], *a["bbox"][2:]]
            category = a["category_id"] if random.random() < 0.8 else int(random.choice(dataset.category_ids))
            found.append(
                {"image_id": a["image_id"], "category_id": category, "bbox": b, "score": float(random.random())}
            )
    curves = f1_curves(found, ground_truth)
    assert len(curves) > 1
    for category, curve in curves.items():
        boxes = [a for a in ground_truth["annotations"] if a["category_id"] == category]
        for place, threshold in enumerate(THRESHOLDS.tolist()):
            kept = sorted(
                (d for d in found if d["category_id"] == category and d["score"] >= threshold),
                key=lambda d: -d["score"],
            )
            free, right = list(boxes), 0
            for d in kept:
                rivals = [(iou(d["bbox"], b["bbox"]), n) for n, b in enumerate(free) if b["image_id"] == d["image_id"]]
                if rivals and max(rivals)[0] >= 0.5:
                    free.pop(max(rivals)[1])
                    right += 1
            assert curve.f1[place] == pytest.approx(2 * right / (len(kept) + len(boxes))), (category, threshold)
