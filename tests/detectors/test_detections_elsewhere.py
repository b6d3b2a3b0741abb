"""Detections to other libraries' own classes and back, through the real packages."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from detzoo.errors import DetzooError
from detzoo.prediction.detections import Detections

CLASSES = ("cat", None, "dog")


def detections(count: int = 2, *, masks: bool = False) -> Detections:
    drawn = torch.zeros(count, 30, 40, dtype=torch.bool)
    drawn[:1, 2:22, 1:8] = True
    drawn[1:, 5:15, 5:25:2] = True
    return Detections(
        boxes=torch.tensor([[1.0, 2, 11, 22], [5, 5, 25, 15]])[:count],
        scores=torch.tensor([0.9, 0.4])[:count],
        labels=torch.tensor([2, 0])[:count],
        classes=CLASSES,
        size=(30, 40),
        masks=drawn if masks else None,
        path="a.jpg",
    )


def same(one: Detections, other: Detections) -> None:
    torch.testing.assert_close(one.boxes, other.boxes)
    torch.testing.assert_close(one.scores, other.scores)
    assert one.labels.tolist() == other.labels.tolist()
    assert (one.size, one.path) == (other.size, other.path)
    assert (one.masks is None) == (other.masks is None)
    if one.masks is not None and other.masks is not None:
        assert torch.equal(one.masks, other.masks)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("count", [0, 2])
def test_coco_and_back(count: int, masks: bool) -> None:
    found = detections(count, masks=masks and count > 0)
    for ids in (None, (7, 8, 9), {"dog": 3, "cat": 1}):
        rows = found.to_coco(5, ids)
        same(Detections.from_coco(rows, classes=CLASSES, size=(30, 40), category_ids=ids, path="a.jpg"), found)


def test_coco_polygons_are_drawn_and_the_best_comes_first() -> None:
    rows: list[dict[str, Any]] = [
        {"category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.2, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
        {"category_id": 3, "bbox": [30, 20, 20, 20], "score": 0.8, "segmentation": None},
    ]
    found = Detections.from_coco([row | {"image_id": 1} for row in rows], classes=CLASSES, size=(30, 40))
    assert found.names == ["dog", "cat"]
    assert found.boxes[0].tolist() == [30, 20, 40, 30]  # clipped to the image
    assert found.masks is not None
    assert found.masks.sum((1, 2)).tolist() == [0, 16]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"category_id": 4}, "category_id 4 belongs to no class; known are 1, 2, 3"),
        ({"score": float("nan")}, "score 0 is nan; it must lie between 0 and 1"),
        ({"bbox": [5, 5, -1, 2]}, "ends before it begins"),
        ({"bbox": [5, 5, float("inf"), 2]}, "corners must be finite"),
        ({"segmentation": {"size": [3, 4], "counts": [12]}}, "its image 40 x 30 px"),
    ],
)  # fmt: skip
def test_rows_that_are_no_detections_are_one_message(changed: dict[str, Any], message: str) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "score": 0.2} | changed
    with pytest.raises(DetzooError, match=message):
        Detections.from_coco([row], classes=CLASSES, size=(30, 40))
    with pytest.raises(DetzooError, match="here are those of 2"):
        Detections.from_coco([row, row | {"image_id": 2}], classes=CLASSES, size=(30, 40))


@pytest.mark.parametrize("count", [0, 2])
def test_pandas_and_back(count: int) -> None:
    pytest.importorskip("pandas")
    found = detections(count)
    table = found.to_pandas().iloc[::-1]
    same(Detections.from_pandas(table, size=(30, 40), path="a.jpg"), found)
    assert Detections.from_pandas(table, size=(30, 40)).names == found.names
    with pytest.raises(DetzooError, match="no column score"):
        Detections.from_pandas(table.drop(columns="score"), size=(30, 40))


def test_a_label_with_two_names_is_an_error() -> None:
    pandas = pytest.importorskip("pandas")
    rows = [["cat", 0, 0.5, 0, 0, 1, 1], ["dog", 0, 0.5, 0, 0, 1, 1]]
    table = pandas.DataFrame(rows, columns=["name", "label", "score", "x1", "y1", "x2", "y2"])
    with pytest.raises(DetzooError, match="label 0 is called cat and dog"):
        Detections.from_pandas(table, size=(30, 40))


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("count", [0, 2])
def test_supervision_and_back(count: int, masks: bool) -> None:
    supervision = pytest.importorskip("supervision")
    found = detections(count, masks=masks and count > 0)
    theirs = found.to_supervision()
    assert len(theirs) == count
    assert list(theirs.data["class_name"]) == found.names
    same(Detections.from_supervision(theirs, size=(30, 40), classes=CLASSES, path="a.jpg"), found)
    # what they make of it, by hand: boxes of 10 x 20 and 20 x 10 px that share 6 x 10, an IoU of 60 / 340;
    # masks of 140 and 100 px that share 20, an IoU of 20 / 220
    assert theirs.box_area.tolist() == [200.0, 200.0][:count]
    assert len(theirs.with_nms(0.05, class_agnostic=True)) == min(count, 1)
    image = np.zeros((30, 40, 3), np.uint8)
    drawn = supervision.BoxAnnotator(thickness=1).annotate(image.copy(), theirs)
    assert bool(drawn.any()) == (count > 0)


def test_what_supervision_lacks_is_told() -> None:
    supervision = pytest.importorskip("supervision")
    bare = supervision.Detections(xyxy=np.array([[0.0, 0, 4, 4]]))
    with pytest.raises(DetzooError, match="confidence is None"):
        Detections.from_supervision(bare, size=(30, 40))
    unnamed = supervision.Detections(xyxy=bare.xyxy, confidence=np.array([0.5]), class_id=np.array([1]))
    with pytest.raises(DetzooError, match="give classes="):
        Detections.from_supervision(unnamed, size=(30, 40))
    found = Detections.from_supervision(unnamed, size=(30, 40), classes=("a", "b"))
    assert found.names == ["b"]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("count", [0, 2])
def test_fiftyone_and_back(count: int, masks: bool) -> None:
    pytest.importorskip("fiftyone")
    found = detections(count, masks=masks and count > 0)
    theirs = found.to_fiftyone()
    assert [one.label for one in theirs.detections] == found.names
    for one in theirs.detections[:1]:
        assert one.bounding_box == pytest.approx([1 / 40, 2 / 30, 10 / 40, 20 / 30])
    same(Detections.from_fiftyone(theirs, classes=CLASSES, size=(30, 40), path="a.jpg"), found)
    if count:
        with pytest.raises(DetzooError, match="dog is not among the classes: cat"):
            Detections.from_fiftyone(theirs, classes=("cat",), size=(30, 40))
    if found.masks is not None:  # FiftyOne draws the masks where we do
        drawn = theirs.detections[1].to_segmentation(frame_size=(40, 30)).mask
        np.testing.assert_array_equal(drawn > 0, found.masks[1].numpy())


@pytest.mark.parametrize("package", ["supervision", "fiftyone", "pandas"])
def test_a_package_that_is_not_there_is_named_with_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DetzooError, match=rf"pip install detzoo\[{package}\]"):
        {
            "supervision": detections().to_supervision,
            "fiftyone": detections().to_fiftyone,
            "pandas": detections().to_pandas,
        }[package]()
