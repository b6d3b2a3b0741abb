"""``detzoo data check --with``: what it reads, prints, writes and rejects."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import detzoo
from detzoo.errors import DataError
from detzoo.inspection.label_check import (
    Strength,
    check_labels,
    doubts_table,
    ranked_rows,
    strength_of,
    write_doubts,
)
from detzoo.inspection.label_page import window
from detzoo.weights.checkpoint import save_model

NAMES = ["cat", "<dog>"]


def make(folder: Path, labels: list[dict[str, Any]], found: list[dict[str, Any]], images: int = 6) -> tuple[str, str]:
    """A COCO dataset of grey images, and a result file; their paths."""
    folder.mkdir(exist_ok=True)
    for n in range(1, images + 1):
        cv2.imwrite(str(folder / f"{n}.png"), np.full((60, 90, 3), 128, np.uint8))
    listed = [{"id": n, "file_name": f"{n}.png", "height": 60, "width": 90} for n in range(1, images + 1)]
    content = {
        "images": listed,
        "annotations": [{"id": n + 1, "iscrowd": 0, **row} for n, row in enumerate(labels)],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(NAMES)],
    }
    (folder / "labels.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(found))
    return str(folder / "labels.json"), str(folder / "found.json")


def label(image: int, category: int, *box: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(box), "area": box[2] * box[3]}


def detection(image: int, category: int, score: float, *box: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "score": score, "bbox": list(box)}


@pytest.fixture
def one_wrong(tmp_path: Path) -> tuple[str, str]:
    """A dog is called a cat in the third image."""
    labels = [label(n, 1 if n == 3 else 2, 10, 10, 30, 30) for n in range(1, 7)]
    return make(tmp_path / "data", labels, [detection(n, 2, 0.9, 10, 10, 30, 28) for n in range(1, 7)])


def test_no_box_to_hold_against_anything(tmp_path: Path) -> None:
    data, found = make(tmp_path / "data", [], [])
    with pytest.raises(DataError, match="none of 6 images has a box"):
        check_labels(data, found)
    data, found = make(tmp_path / "crowds", [label(1, 1, 1, 1, 9, 9) | {"iscrowd": 1}], [])
    with pytest.raises(DataError, match="crowd"):
        check_labels(data, found)


def test_strength_is_that_of_the_best_f1_whatever_the_class() -> None:
    truth = {
        "images": [{"id": 1}],
        "annotations": [label(1, 1, 0, 0, 10, 10), label(1, 1, 20, 0, 10, 10), label(1, 1, 40, 0, 10, 10)],
        "categories": [{"id": 1, "name": "cat"}],
    }
    found = [detection(1, 2, 0.9, 0, 0, 10, 10), detection(1, 1, 0.8, 70, 0, 9, 9), detection(1, 1, 0.5, 20, 0, 10, 10)]
    assert strength_of([], truth) == Strength(3)
    # F1 of the first one, two, three: 2/4, 2/5, 4/6
    assert strength_of(found, truth) == Strength(objects=3, found=2, reported=3, threshold=0.5)
    assert strength_of(found, truth).f1 == pytest.approx(2 / 3)
    assert strength_of([], truth | {"annotations": []}).f1 == 0


def test_a_detector_that_finds_nothing_is_no_judge(tmp_path: Path) -> None:
    labels = [label(n, 1, 10, 10, 30, 30) for n in range(1, 7)]
    data, found = make(tmp_path / "data", labels, [detection(1, 1, 0.9, 60, 40, 9, 9)])
    said: list[str] = []
    with pytest.raises(DataError, match=r"found\.json is no judge of .* 0% of 6 boxes are found"):
        check_labels(data, found, say=said.append)
    assert "0% of 1 detections" in said[0]


def test_an_untrained_detector_is_no_judge(tmp_path: Path) -> None:
    data = "shapes:train=2,val=2,test=2,size=64"
    classes = detzoo.open_dataset(data, "train").classes
    detector = detzoo.build("yolo_fastest_coco", classes=classes, weights=None)
    weights = tmp_path / "untrained.safetensors"
    save_model(detector, weights)
    with pytest.raises(DataError, match=r"untrained\.safetensors is no judge of shapes train"):
        check_labels(data, str(weights), "train", device="cpu")


def test_detections_of_a_file_belong_to_one_split(one_wrong: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="--split: train, val, test"):
        check_labels("shapes:train=2,val=2,test=2,size=64", one_wrong[1])


def test_files_hold_every_doubt_and_the_page_draws_it(one_wrong: tuple[str, str], tmp_path: Path) -> None:
    checked = check_labels(*one_wrong)
    json_, csv_, page = write_doubts(checked, one_wrong[1], tmp_path / "out", drawn=5)
    content = json.loads(json_.read_text())
    assert content["detector"] == one_wrong[1]
    ((split, facts),) = content["splits"].items()
    assert (facts["objects"], facts["found"], facts["reported"]) == (6, 6, 6)
    (row,) = content["labels"]
    assert (row["what"], row["label"], row["detected"], row["image"]) == ("other class", "cat", "<dog>", "3.png")
    assert (row["x1"], row["y1"], row["x2"], row["y2"]) == (10, 10, 40, 40)
    assert row["doubt"] == pytest.approx(5 / 6, abs=1e-4)  # of six detections of this score five are right
    (line,) = csv.DictReader(io.StringIO(csv_.read_text()))
    assert (line["split"], line["path"], line["iou"]) == (split, row["path"], str(row["iou"]))
    text = page.read_text()
    assert text.count("<li>") == text.count('<img src="data:image/jpeg;base64,') == 1
    assert "<dog>" not in text
    assert "&lt;dog&gt;" in text
    assert "http" not in text


def test_a_repeated_check_replaces_its_own_files_and_no_others(one_wrong: tuple[str, str], tmp_path: Path) -> None:
    checked = check_labels(*one_wrong)
    for drawn in (1, 2):
        write_doubts(checked, "run", tmp_path / "out", drawn=drawn)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "suspicious.csv").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        write_doubts(checked, "run", tmp_path / "mine", drawn=1)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["suspicious.csv"]


def test_a_file_name_that_is_no_text_is_written_escaped(one_wrong: tuple[str, str], tmp_path: Path) -> None:
    labels, folder = Path(one_wrong[0]), tmp_path / "data"
    (folder / "3.png").rename(folder / "3\udcff.png")  # a byte that no text in UTF-8 holds
    labels.write_text(labels.read_text().replace("3.png", "3\\udcff.png"))
    json_, csv_, page = write_doubts(check_labels(*one_wrong), "run", tmp_path / "out", drawn=1)
    assert all("3\\udcff.png" in path.read_text().replace("\\\\", "\\") for path in (json_, csv_, page))
    assert "base64" in page.read_text()


def test_the_table_shows_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    labels = [label(n, 1 if n < 3 else 2, 10, 10, 30, 30) for n in range(1, 7)]
    paths = make(tmp_path / "data", labels, [detection(n, 2, 0.9, 10, 10, 30, 28) for n in range(1, 7)])
    rows = [row for row, _, _ in ranked_rows(check_labels(*paths))]
    text = doubts_table(rows, 1).terminal(80)
    assert "2 labels" in text
    assert "1 more" in text
    assert ("1.png" in text, "2.png" in text) == (True, False)
    assert max(map(len, text.splitlines())) <= 80
    for drawn, more in ((1, True), (2, False)):
        page = write_doubts(check_labels(*paths), "run", tmp_path / "out", drawn=drawn)[-1].read_text()
        assert (page.count("<li>"), "1 more, less doubted" in page) == (drawn, more)


def test_a_crop_stays_in_the_image_and_never_is_empty() -> None:
    assert window([(100, 50, 120, 60)], (480, 640)) == (68, 18, 152, 92)  # 32 px around
    assert window([(100, 100, 200, 150), (150, 100, 300, 200)], (480, 640)) == (0, 0, 420, 320)  # 0.6 of 200 around
    x1, y1, x2, y2 = window([(700, 500, 710, 510)], (480, 640))  # a label beyond the image
    assert (x2 - x1 > 0, y2 - y1 > 0, x2 <= 640, y2 <= 480) == (True, True, True, True)
