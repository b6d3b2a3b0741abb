"""Recall of proposals: by hand, and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detzoo.proposals.recall import average_recall, best_overlaps, objects_of, recall
from detzoo.types import Sample


def random_boxes(count: int, seed: int) -> NDArray[np.float64]:
    corners = np.random.default_rng(seed).uniform(0, 60, (count, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1) + 1], axis=1)


def test_without_proposals_nothing_is_covered() -> None:
    found = best_overlaps(np.zeros((0, 4)), random_boxes(3, 0), [1, 10])
    assert found.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert recall(found, 0.5).tolist() == [0, 0]


def test_without_objects_there_is_no_recall() -> None:
    found = best_overlaps(random_boxes(3, 0), np.zeros((0, 4)), [1, 10])
    assert found.shape == (2, 0)
    assert np.isnan(recall(found, 0.5)).all()
    assert np.isnan(average_recall(found)).all()


def test_by_hand() -> None:
    objects = np.array([[0, 0, 10, 10], [20, 0, 30, 10]])
    # half of the first; all of the second; 8/10 of the first; and one on both, which covers each by 100 / 300
    boxes = np.array([[0, 0, 5, 10], [20, 0, 30, 10], [0, 0, 8, 10], [0, 0, 30, 10]])
    found = best_overlaps(boxes, objects, [1, 2, 3, 4, 2000])
    assert found.tolist() == [[0.5, 0], [0.5, 1], [0.8, 1], [0.8, 1], [0.8, 1]]
    assert recall(found, 0.5).tolist() == [0.5, 1, 1, 1, 1]  # 0.5 itself counts
    assert recall(found, 0.7).tolist() == [0, 0.5, 1, 1, 1]
    # 2/n sum max(IoU - 0.5, 0), n = 2: 0, then 0.5, then 0.3 + 0.5
    assert average_recall(found) == pytest.approx([0, 0.5, 0.8, 0.8, 0.8])


def test_one_proposal_may_answer_two_objects() -> None:
    objects = np.array([[0, 0, 10, 10], [0, 0, 10, 9]])
    assert recall(best_overlaps(objects[:1], objects, [1]), 0.5).tolist() == [1]


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * tall
    return float(wide * tall / union)


@pytest.mark.parametrize("seed", range(3))
def test_as_a_plain_loop(seed: int) -> None:
    boxes, objects, counts = random_boxes(40, seed), random_boxes(9, seed + 100), [1, 3, 10, 40, 99]
    found = best_overlaps(boxes, objects, counts)
    for row, count in enumerate(counts):
        for column, thing in enumerate(objects):
            assert found[row, column] == pytest.approx(max(overlap(box, thing) for box in boxes[:count]), abs=1e-12)
    # the area under recall over IoU 0.5..1, by the midpoint rule
    steps = np.arange(0.5, 1, 1e-4) + 5e-5
    for row in range(len(counts)):
        area = sum(np.mean([value >= iou for value in found[row]]) for iou in steps) * 1e-4
        assert average_recall(found)[row] == pytest.approx(2 * area, abs=2e-4)


def test_difficult_and_crowd_boxes_are_no_objects() -> None:
    sample = Sample(
        image=np.zeros((20, 20, 3), np.uint8),
        boxes=np.arange(12, dtype=np.float32).reshape(3, 4),
        labels=np.zeros(3, np.int64),
        difficult=np.array([True, False, False]),
        crowd=np.array([False, False, True]),
        image_id=1,
        path="x",
    )
    assert objects_of(sample).tolist() == [[4, 5, 6, 7]]
