"""Curves and confusion as data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detzoo.comparison.curve_files import write_curves
from detzoo.evaluation import evaluate, evaluate_detections
from detzoo.evaluation.curves import confusion, confusion_csv, curves_csv, pr_curves

TRUTH: dict[str, Any] = {
    "images": [{"id": 1, "height": 100, "width": 100}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [50, 50, 10, 10], "area": 100, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 2, "bbox": [80, 80, 10, 10], "area": 100, "iscrowd": 0, "ignore": 1},
    ],
}


def row(category: int, score: float, box: list[int]) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "score": score, "bbox": box}


def test_nothing_found() -> None:
    matrix = confusion([], TRUTH)
    # Both boxes that count are missed: last column.
    assert matrix.counts.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_confusion() -> None:
    found = [
        row(2, 0.9, [0, 0, 10, 10]),  # the cat, taken for a dog
        row(1, 0.8, [0, 0, 10, 10]),  # too late: the box is taken
        row(2, 0.7, [50, 50, 10, 10]),  # right
        row(2, 0.6, [80, 80, 10, 10]),  # difficult: does not count
        row(1, 0.1, [50, 0, 10, 10]),  # below the score
    ]
    matrix = confusion(found, TRUTH)
    assert matrix.counts.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert confusion_csv(matrix) == "truth / detected,cat,dog,background\ncat,0,1,0\ndog,0,1,0\nbackground,1,0,0\n"


def test_classes_of_one_name_are_told_apart_by_their_ids() -> None:
    twins = TRUTH | {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]}
    assert confusion([], twins).names == ("cat (1)", "cat (2)")


def test_precision_over_recall() -> None:
    found = [row(1, 0.9, [50, 0, 10, 10]), row(1, 0.8, [0, 0, 10, 10])]
    curves = pr_curves(evaluate_detections(found, TRUTH).coco, {1: "cat", 2: "dog"})
    assert [(c.name, c.iou) for c in curves] == [("cat", 0.5), ("cat", 0.75), ("dog", 0.5), ("dog", 0.75)]
    # One false, then one true: 1/2 at every recall, reached at score .8 (recall 0 at once, at .9); no dog is found.
    assert set(curves[0].precision.tolist()) == {0.5}
    assert (curves[0].score[0], set(curves[0].score[1:].tolist())) == (0.9, {0.8})
    assert set(curves[2].precision.tolist()) == {0.0}
    lines = curves_csv(curves).splitlines()
    assert len(lines) == 1 + 4 * 101
    assert lines[2] == "cat,0.5,0.01,0.500000,0.800000"


def test_files(finder: Callable[..., Any], paintings: Callable[..., Any], tmp_path: Path) -> None:
    paths = write_curves(evaluate(finder(), paintings(), progress=False), tmp_path)
    assert [p.name for p in paths] == [
        "curves.json",
        "pr_curves.csv",
        "confusion.csv",
        "pr_curves.png",
        "confusion.png",
    ]
    data = json.loads(paths[0].read_text())
    assert data["confusion"]["counts"] == [[7, 0, 0], [0, 7, 0], [0, 0, 0]]
    assert all(p.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for p in paths[3:])


def test_files_of_nothing(tmp_path: Path) -> None:
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    assert len(write_curves(evaluate_detections([], empty), tmp_path)) == 5
