"""What ``predict`` takes and gives: images of every kind in, a list of detections out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detzoo.detector_loading import load_detector
from detzoo.errors import DataError, DetzooError
from detzoo.prediction.detections import Detections
from detzoo.prediction.given_images import PredictionError, as_list, read_given

RED = np.zeros((4, 6, 3), np.uint8) + np.array([200, 30, 10], np.uint8)  # RGB


def detections(count: int = 2, **more: Any) -> Detections:
    boxes = torch.tensor([[1.0, 2, 11, 22], [5, 5, 25, 15]])[:count]
    return Detections(
        boxes=boxes,
        scores=torch.tensor([0.9, 0.4])[:count],
        labels=torch.tensor([1, 0])[:count],
        classes=("cat", None),
        size=(30, 40),
        **more,
    )


def test_an_array_must_tell_the_order_of_its_colours() -> None:
    with pytest.raises(PredictionError, match=r'channels="bgr".*channels="rgb"'):
        read_given(RED, None)
    with pytest.raises(PredictionError, match="allowed: rgb, bgr"):
        read_given(RED, "gbr")  # type: ignore[arg-type]


def test_every_kind_of_image_arrives_as_the_same_rgb(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.fromarray(RED).save(path)
    tensor = torch.from_numpy(RED).permute(2, 0, 1)
    given: list[tuple[Any, Any]] = [
        (path, None), (str(path), None), (Image.fromarray(RED), None), (RED, "rgb"), (cv2.imread(str(path)), "bgr"),
        (tensor, None), (tensor / 255, None), (tensor.flip(0), "bgr"),
    ]  # fmt: skip
    for image, channels in given:
        np.testing.assert_array_equal(read_given(image, channels), RED)


def test_grey_needs_no_order() -> None:
    assert (read_given(np.full((3, 5), 7, np.uint8), None) == 7).all()
    assert read_given(torch.full((1, 3, 5), 7, dtype=torch.uint8), None).shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(4, 6, 3), r"\[4, 6, 3\]"),
        (torch.full((3, 4, 6), 120.0), "expected 0..1"),
        (torch.full((3, 4, 6), -0.1), "expected 0..1"),
        (torch.full((3, 4, 6), torch.nan), "expected 0..1"),
        (torch.zeros(3, 4, 6, dtype=torch.int64), "int64"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_no_image_is_an_error(tensor: torch.Tensor, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        read_given(tensor, None)


def test_one_image_is_a_list_of_one_and_a_batch_is_its_images() -> None:
    assert len(as_list("a.jpg")) == len(as_list(RED)) == len(as_list(torch.zeros(3, 4, 6))) == 1
    assert len(as_list(torch.zeros(5, 3, 4, 6))) == 5
    with pytest.raises(PredictionError, match=r"Tensor of shape \[4, 6\]"):
        as_list(torch.zeros(4, 6))


def test_detections_are_a_list() -> None:
    found = detections()
    assert [one.name for one in found] == ["class 1", "cat"]
    assert (found[0].box, found[-1].label) == ((1.0, 2.0, 11.0, 22.0), 0)
    assert found[0].score == pytest.approx(0.9)
    assert len(found[:1]) == len(found[found.scores > 0.5]) == 1
    with pytest.raises(IndexError):
        found[2]


@pytest.mark.parametrize("count", [0, 2])
def test_values_can_be_written_and_read_back(count: int, tmp_path: Path) -> None:
    found = detections(count, masks=torch.ones(count, 30, 40, dtype=torch.bool), path="a.jpg")
    values = json.loads(found.save(tmp_path / "found.json").read_text())
    assert (values["path"], values["height"], values["width"], len(values["detections"])) == ("a.jpg", 30, 40, count)
    rows = found.to_coco(7, category_ids=(11, 12))
    assert [(row["image_id"], row["category_id"], row["bbox"]) for row in rows] == [
        (7, 12, [1.0, 2.0, 10.0, 20.0]), (7, 11, [5.0, 5.0, 20.0, 10.0])
    ][:count]  # fmt: skip
    assert all(row["segmentation"]["size"] == [30, 40] for row in rows)
    assert all(row["mask"]["size"] == [30, 40] for row in values["detections"])


@pytest.mark.parametrize("count", [0, 2])
def test_a_table(count: int) -> None:
    pytest.importorskip("pandas")
    table = detections(count).to_pandas()
    assert list(table) == ["name", "label", "score", "x1", "y1", "x2", "y2"]
    assert table["x2"].tolist() == [11.0, 25.0][:count]


def test_save_draws_and_replaces_only_what_it_wrote(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(photo)
    found = detections(path=str(photo))
    for _ in range(2):  # its own file is replaced
        assert found.save(tmp_path / "found.png").is_file()
        found.save(tmp_path / "found.json")
    assert np.asarray(Image.open(tmp_path / "found.png")).std() > 0
    notes = tmp_path / "notes.json"
    notes.write_text("{}")
    for taken in (photo, notes):
        before = taken.read_bytes()
        with pytest.raises(DataError, match=taken.name):
            found.save(taken)
        assert taken.read_bytes() == before


def test_a_wrong_name_or_index_is_one_message(tmp_path: Path) -> None:
    found = detections()
    for name in ("found", "found.txt"):
        with pytest.raises(DataError, match=r"\.jpg, \.json"):
            found.save(tmp_path / name)
    with pytest.raises(DataError, match="no such folder"):
        found.save(tmp_path / "nowhere" / "found.png")
    with pytest.raises(TypeError, match="not by str"):
        found["person"]  # type: ignore[call-overload]


def test_drawing_needs_the_image() -> None:
    with pytest.raises(DetzooError, match="add image="):
        detections().draw()


def test_an_exported_file_has_no_parts(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.pt2"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DetzooError, match="is a foreign detector"):
            load_detector(str(tmp_path / name))


def test_category_ids_are_counted_from_one_or_the_dataset_s_own() -> None:
    found = Detections(
        boxes=torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3]]),
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.tensor([1, 0]),
        classes=("cat", "dog"),
        size=(4, 4),
    )

    def ids(**given: Any) -> list[int]:
        return [row["category_id"] for row in found.to_coco(7, **given)]

    assert ids() == [2, 1]
    assert ids(category_ids=[17, 18]) == [18, 17]
    assert ids(category_ids={"dog": 18, "cat": 17, "cow": 21}) == [18, 17]
    assert found[:0].to_coco(7) == []
    with pytest.raises(DetzooError, match="dog"):
        ids(category_ids={"cat": 17})
    with pytest.raises(DetzooError, match="2 classes"):
        ids(category_ids=[17])
