"""evaluate(): from a detector and a dataset to numbers and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detzoo.errors import DataError, DetzooError
from detzoo.evaluation import Collected, collect, evaluate, evaluate_detections, score
from detzoo.evaluation.classes import map_classes

Make = Callable[..., Any]


def test_empty_data_set(finder: Make, paintings: Make) -> None:
    result = evaluate(finder(), paintings(count=0), progress=False)
    assert math.isnan(result.metrics["AP"])
    assert result.warnings == (
        "there are no detections at all: AP is 0",
        "the ground truth has no box that counts: AP has no value",
    )


@pytest.mark.parametrize("resize", ["stretch", "shortest", "letterbox"])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_perfect_detector_scores_one(finder: Make, paintings: Make, batch: int, resize: str) -> None:
    detector = finder(resize=resize)
    detector.train()
    result = evaluate(detector, paintings(), batch=batch, progress=False)
    assert [result.metrics[m] for m in ("AP50", "voc07_AP50", "voc10_AP50")] == pytest.approx([1, 1, 1])
    assert result.per_class["red"]["ground_truths"] == result.per_class["red"]["detections"] == 7
    assert {row["category_id"] for row in result.detections} == {5, 11}
    assert detector.training


def test_a_batch_holds_one_prepared_size(finder: Make, paintings: Make) -> None:
    detector = finder(resize="shortest")
    evaluate(detector, paintings(), batch=3, progress=False)
    # Images 2 and 5 are tall, the other five are square.
    assert sorted(detector.shapes) == [(2, 3, 64, 64), (2, 3, 128, 64), (3, 3, 64, 64)]


def test_same_boxes_as_predict(finder: Make, paintings: Make) -> None:
    data, detector = paintings(), finder()
    result = evaluate(detector, data, batch=4, progress=False)
    predicted = detector.predict([data.sample(2).image], channels="rgb")[0]
    rows = [row for row in result.detections if row["image_id"] == 102]
    for row, box, points in zip(rows, predicted.boxes.tolist(), predicted.scores.tolist(), strict=True):
        assert row["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        assert row["score"] == pytest.approx(points, abs=1e-8)


def test_shares_of_several_processes_give_the_same_numbers(finder: Make, paintings: Make) -> None:
    data, detector = paintings(), finder()
    classes = map_classes(detector.classes, data.classes, data.category_ids)
    shares = [
        collect(detector, data, classes.category_of, batch=2, shard=(rank, 3), progress=False) for rank in (2, 0, 1)
    ]
    whole = evaluate(detector, data, progress=False)
    parts = score(detector, data, Collected().merged(shares), classes)
    assert parts.detections == whole.detections
    assert parts.as_dict()["metrics"] == whole.as_dict()["metrics"]


def test_broken_images_are_left_out_and_counted(finder: Make, paintings: Make) -> None:
    result = evaluate(finder(), paintings(broken=(1, 4)), progress=False)
    assert result.metrics["AP50"] == 1.0
    assert result.facts["counts"] == {
        "images": 5,
        "annotations": 10,
        "detections": 10,
        "broken_images": 2,
        "detections_left_out": 0,
    }
    assert result.facts["broken_images"] == ["101", "104"]
    assert result.warnings == (
        "2 of 7 images could not be read; they and their boxes are left out (the first: image 1 is cut short)",
    )


def test_files(finder: Make, paintings: Make, tmp_path: Path) -> None:
    data = paintings()
    result = evaluate(finder(), data, progress=False)
    written = json.loads(result.write(tmp_path / "new").read_text())
    rows = json.loads((tmp_path / "new" / "detections.json").read_text())
    again = evaluate_detections(rows, data.coco_ground_truth())
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)
    assert written["metrics"]["AP50"] == 1.0
    assert written["metrics"]["APl"] is None
    assert written["class_map"] == {"red": 11, "green": 5}
    assert written["data"] == {"name": "paintings", "split": "test", "classes": ["red", "green"]}
    assert written["protocol"]["batch"] == 8
    assert written["protocol"]["input"]["size"] == [64, 64]
    assert written["versions"]["torch"]
    assert written["device"]["type"] == "cpu"
    result.write(tmp_path / "new")


def test_files_of_others_are_not_overwritten(finder: Make, paintings: Make, tmp_path: Path) -> None:
    result = evaluate(finder(), paintings(count=1), progress=False)
    mine = tmp_path / "detections.json"
    mine.write_text("[]")
    with pytest.raises(DataError) as caught:
        result.write(tmp_path)
    assert str(caught.value) == (f"{mine} exists and was not written by detzoo eval; choose another folder or move it")
    with pytest.raises(DataError) as caught:
        result.write(mine)
    assert str(caught.value) == f"{mine} is a file; --out takes a folder"


def test_batch_must_be_positive(finder: Make, paintings: Make) -> None:
    with pytest.raises(DetzooError) as caught:
        evaluate(finder(), paintings(), batch=0)
    assert str(caught.value) == "batch is 0; it must be 1 or more"


def test_progress_goes_to_stderr(finder: Make, paintings: Make, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(finder(), paintings())
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "evaluating: 7 of 7 images\n")
