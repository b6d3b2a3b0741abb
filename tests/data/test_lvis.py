"""LVIS's annotation files: images named by URL, and which classes were looked for in each image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detzoo.data import Dataset, list_splits, open_dataset
from detzoo.data.checking.check import check
from detzoo.data.checking.statistics import opening_lines
from detzoo.data.formats.capabilities import losses
from detzoo.data.formats.writing import write_datasets
from detzoo.errors import DataError

WIDTH, HEIGHT = 40, 20
CATEGORIES = [
    {"id": 3, "name": "aerosol_can", "frequency": "c", "synset": "aerosol.n.02", "image_count": 64},
    {"id": 5, "name": "bagel", "frequency": "f", "synset": "bagel.n.01", "image_count": 231},
    {"id": 8, "name": "cufflink", "frequency": "r", "synset": "cufflink.n.01", "image_count": 2},
]


def entry(own: int, folder: str = "train2017", **changes: Any) -> dict[str, Any]:
    found = {
        "id": own, "width": WIDTH, "height": HEIGHT, "license": 4,
        "coco_url": f"http://images.cocodataset.org/{folder}/{own:012d}.jpg",
        "neg_category_ids": [8], "not_exhaustive_category_ids": [5],
    }  # fmt: skip
    return {key: value for key, value in (found | changes).items() if value != "-"}


def bagel(own: int, image: int) -> dict[str, Any]:
    outline = [4, 2, 14, 2, 14, 12, 4, 12]
    return {"id": own, "image_id": image, "category_id": 5, "bbox": [4, 2, 10, 10], "area": 100.0,
            "segmentation": [outline]}  # fmt: skip


def lvis(path: Path, *images: dict[str, Any], boxes: bool = True, **changes: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": list(images),
        "annotations": [bagel(n, image["id"]) for n, image in enumerate(images, start=1)] if boxes else [],
        "categories": CATEGORIES,
    }
    path.write_text(json.dumps(content | changes, indent=1))
    return path


def photograph(path: Path, shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), (shade, 80, 90)).save(path)


def opened(spec: Path, split: str | None = None) -> Dataset:
    return open_dataset(spec, split, quiet=True, lines=True)


def keys(data: Dataset) -> list[tuple[list[int], list[int]]]:
    images = data.coco_ground_truth()["images"]
    return [(image["neg_category_ids"], image["not_exhaustive_category_ids"]) for image in images]


def test_a_file_without_a_box(tmp_path: Path) -> None:
    photograph(tmp_path / "train2017" / f"{1:012d}.jpg")
    data = opened(lvis(tmp_path / "lvis.json", entry(1), boxes=False))
    assert (len(data), len(data.annotations().labels), keys(data)) == (1, 0, [([8], [5])])
    assert data.classes == ("aerosol_can", "bagel", "cufflink")


def test_images_of_two_folders_by_their_urls(tmp_path: Path) -> None:
    photograph(tmp_path / "train2017" / f"{1:012d}.jpg")
    photograph(tmp_path / "val2017" / f"{2:012d}.jpg", 140)
    lvis(tmp_path / "annotations" / "lvis_v1_val.json", entry(1), entry(2, "val2017", neg_category_ids=[]))
    lvis(tmp_path / "annotations" / "lvis_v1_image_info_test_dev.json", entry(1))
    assert list_splits(tmp_path) == ("val",)
    data = opened(tmp_path, "val")
    assert data.paths == [str(tmp_path / "train2017" / f"{1:012d}.jpg"), str(tmp_path / "val2017" / f"{2:012d}.jpg")]
    assert keys(data) == [([8], [5]), ([], [5])]
    assert [c.get("frequency") for c in data.coco_ground_truth()["categories"]] == ["c", "f", "r"]
    masks = data[0].masks
    assert masks is not None
    assert masks.sum() == 100
    told = [(problem.severity, problem.code) for problem in data.problems]
    assert told == [("info", "category-gaps"), ("warning", "guess"), ("info", "federated")]
    assert "1 rare, 1 common, 1 frequent" in data.problems[2].message
    found = check(tmp_path)
    assert [problem.code for problem in found] == ["category-gaps", "guess", "federated"]


def test_images_in_one_folder(tmp_path: Path) -> None:
    for own in (1, 2):
        photograph(tmp_path / "images" / f"{own:012d}.jpg")
    data = opened(lvis(tmp_path / "lvis_v1_train.json", entry(1), entry(2, "val2017")))
    assert data.paths == [str(tmp_path / "images" / f"{own:012d}.jpg") for own in (1, 2)]
    assert data.split == "train"


def test_first_lines_say_how_it_is_counted(tmp_path: Path) -> None:
    photograph(tmp_path / "train2017" / f"{1:012d}.jpg")
    data = opened(lvis(tmp_path / "lvis.json", entry(1)))
    assert any("federated" in line for line in opening_lines(data))
    plain = entry(1, neg_category_ids="-", not_exhaustive_category_ids="-")
    data = opened(lvis(tmp_path / "plain.json", plain))
    assert data.annotations().federated is None
    assert not any("federated" in line for line in opening_lines(data))


@pytest.mark.parametrize(
    ("changes", "expected", "lists"),
    [
        ({"neg_category_ids": "-"}, ("bad-federated", 16), ([], [5])),
        ({"neg_category_ids": 8}, ("bad-federated", 16), ([], [5])),
        ({"not_exhaustive_category_ids": [5, 99]}, ("unknown-class", 16), ([8], [5])),
        ({"not_exhaustive_category_ids": [None]}, ("unknown-class", 16), ([8], [])),
        ({"neg_category_ids": ["8", 8.0, 8]}, None, ([8], [5])),
    ],
)
def test_lists_that_are_none(tmp_path: Path, changes: dict[str, Any], expected: Any, lists: Any) -> None:
    for own in (1, 2):
        photograph(tmp_path / "train2017" / f"{own:012d}.jpg", 90 * own)
    data = opened(lvis(tmp_path / "lvis.json", entry(1), entry(2, **changes)))
    errors = [(problem.code, problem.line) for problem in data.problems if problem.severity == "error"]
    assert errors == ([] if expected is None else [expected])
    assert keys(data) == [([8], [5]), lists]


def test_a_frequency_that_is_none(tmp_path: Path) -> None:
    photograph(tmp_path / "train2017" / f"{1:012d}.jpg")
    categories = [CATEGORIES[0] | {"frequency": "often"}, CATEGORIES[1], {"id": 8, "name": "cufflink"}]
    data = opened(lvis(tmp_path / "lvis.json", entry(1), categories=categories))
    assert [p.code for p in data.problems if p.severity == "error"] == ["bad-frequency"]
    assert [c.get("frequency") for c in data.coco_ground_truth()["categories"]] == [None, "f", None]


def test_chosen_classes_and_images(tmp_path: Path) -> None:
    for own in (1, 2):
        photograph(tmp_path / "train2017" / f"{own:012d}.jpg")
    lvis(tmp_path / "lvis.json", entry(1), entry(2, neg_category_ids=[3]))
    yaml = tmp_path / "data.yaml"
    yaml.write_text("format: coco\nclasses: [bagel, aerosol_can]\nsplits: {val: {annotations: lvis.json}}\n")
    data = opened(yaml)
    assert keys(data) == [([], [5]), ([3], [5])]
    assert [c["frequency"] for c in data.coco_ground_truth()["categories"]] == ["f", "c"]
    assert keys(data.subset([1])) == [([3], [5])]


def test_two_files_as_one_split(tmp_path: Path) -> None:
    for own in (1, 2):
        photograph(tmp_path / "train2017" / f"{own:012d}.jpg")
    lvis(tmp_path / "a.json", entry(1))
    lvis(tmp_path / "b.json", entry(2, neg_category_ids=[3, 8]))
    lvis(tmp_path / "c.json", entry(2, neg_category_ids="-", not_exhaustive_category_ids="-"))
    assert keys(opened(tmp_path, "a+b")) == [([8], [5]), ([3, 8], [5])]
    with pytest.raises(DataError, match=r"neg_category_ids.*others do not"):
        opened(tmp_path, "a+c")


def test_written_as_coco_it_stays_federated(tmp_path: Path) -> None:
    for own in (1, 2):
        photograph(tmp_path / "train2017" / f"{own:012d}.jpg")
    data = opened(lvis(tmp_path / "lvis.json", entry(1), entry(2, neg_category_ids=[3])))
    write_datasets({"val": data}, tmp_path / "out", "coco")
    again = opened(tmp_path / "out")
    assert keys(again) == keys(data)
    assert again.coco_ground_truth()["categories"] == data.coco_ground_truth()["categories"]
    assert losses({"val": data}, "coco") == []
    assert any("looked for" in text for text in losses({"val": data}, "yolo"))


def test_a_part_of_a_file_stays_federated(tmp_path: Path) -> None:
    for own in (1, 2):
        photograph(tmp_path / "train2017" / f"{own:012d}.jpg")
    lvis(tmp_path / "lvis.json", entry(1), entry(2, neg_category_ids=[3]))
    (tmp_path / "val.txt").write_text(f"train2017/{2:012d}.jpg\n")
    yaml = tmp_path / "data.yaml"
    yaml.write_text("source: lvis.json\nsplits: {val: {of: lvis, only: val.txt}}\n")
    assert keys(opened(yaml)) == [([3], [5])]
