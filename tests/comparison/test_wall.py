"""The image wall: what is drawn, and which images come first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detzoo.comparison.entry import ComparisonEntry
from detzoo.comparison.image_grid import detector_boxes, f1, image_wall, outline, truth_box
from detzoo.data import open_dataset
from detzoo.evaluation.judging import judge
from tests.comparison.result_folders import DATA, found_in

NAMES = {1: "cat", 2: "dog"}


def row(category: int, box: list[float], score: float = 0.9) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": box, "score": score}


def annotation(category: int, box: list[float], **flags: int) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "bbox": box, **flags}


def test_score_of_an_image() -> None:
    assert f1(judge([], [])) == 1.0
    assert f1(judge([row(1, [0, 0, 9, 9])], [])) == 0.0
    assert f1(judge([], [annotation(1, [0, 0, 9, 9], ignore=1)])) == 1.0
    # One right, one false, one not found: 2 / (2 + 1 + 1).
    judged = judge(
        [row(1, [0, 0, 9, 9]), row(1, [50, 0, 9, 9])], [annotation(1, [0, 0, 9, 9]), annotation(2, [80, 0, 9, 9])]
    )
    assert f1(judged) == 0.5


def test_boxes_say_what_they_are() -> None:
    truth = [annotation(1, [0, 0, 9, 9]), annotation(2, [80, 0, 9, 9]), annotation(1, [0, 80, 9, 9], ignore=1)]
    found = [row(1, [0, 0, 9, 9]), row(2, [50, 0, 9, 9], 0.4), row(1, [0, 80, 9, 9], 0.5)]
    assert [(box.kind, box.words) for box in detector_boxes(judge(found, truth), NAMES)] == [
        ("missed", "dog: not found"),
        ("false", "dog 0.40, background error"),
        ("hard", "cat 0.50, on a box that does not count"),
        ("true", "cat 0.90"),
    ]
    assert (truth_box(truth[2], NAMES).kind, truth_box(truth[2], NAMES).words) == ("hard", "cat, difficult")


def test_outline_of_a_mask() -> None:
    from pycocotools import mask

    square = np.zeros((8, 10), np.uint8, order="F")
    square[2:5, 3:7] = 1
    coded = mask.encode(square)
    # Through the middles of the outermost pixels: columns 3 to 6, rows 2 to 4.
    assert outline({"size": coded["size"], "counts": coded["counts"].decode()}) == "M3.5 2.5L3.5 4.5L6.5 4.5L6.5 2.5Z"
    assert outline(None) == outline([[0, 0, 1, 1]]) == ""
    empty = mask.encode(np.zeros((8, 10), np.uint8, order="F"))
    assert outline({"size": [8, 10], "counts": empty["counts"].decode()}) == ""


def entry(folder: Path, rows: list[dict[str, Any]] | None) -> ComparisonEntry:
    folder.mkdir()
    if rows is not None:
        (folder / "detections.json").write_text(json.dumps(rows))
    return ComparisonEntry(folder.name, "", {}, {}, [], folder, None)


def test_the_worst_come_first(tmp_path: Path) -> None:
    dataset = open_dataset(DATA, "test")
    ids = list(dataset.image_ids)
    right = found_in(dataset, shift=0, wrong=None)
    # Of the third image nothing is found by the second detector, and everything else by both.
    entries = [
        entry(tmp_path / "all", right),
        entry(tmp_path / "some", [r for r in right if r["image_id"] != ids[2]]),
        entry(tmp_path / "numbers", None),
    ]
    wall = image_wall(entries, dataset, 2)
    assert [image.score for image in wall] == [0.5, 1.0]
    assert [list(image.boxes) for image in wall] == [["ground truth", "all", "some"]] * 2
    assert [image.f1 for image in wall] == [{"all": 1.0, "some": 0.0}, {"all": 1.0, "some": 1.0}]
    assert wall[0].title == Path(dataset.paths[2]).name
    assert wall[1].title == Path(dataset.paths[0]).name  # equal ones in the dataset's order
    assert {box.kind for box in wall[0].boxes["some"]} == {"missed"}


@pytest.mark.parametrize("most", [0, 5])
def test_without_detections_there_is_no_wall(tmp_path: Path, most: int) -> None:
    assert image_wall([entry(tmp_path / "numbers", None)], open_dataset(DATA, "test"), most) == []
