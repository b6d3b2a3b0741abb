"""Defects of COCO files, one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detzoo.data import open_dataset
from detzoo.errors import DataError
from tests.data.damaged_sets import image, report


def coco(folder: Path, **change: Any) -> Path:
    image(folder / "a.png")
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [note(1)],
    }
    path = folder / "train.json"
    path.write_text(json.dumps({**content, **change}, indent=1))
    return path


def note(own: int, **change: Any) -> dict[str, Any]:
    return {"id": own, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0, **change}


def test_a_good_coco_file_has_no_problem(tmp_path: Path) -> None:
    assert report(coco(tmp_path), tmp_path) == []
    data = open_dataset(tmp_path / "train.json")
    assert data.image_ids == [7]
    assert data.coco_ground_truth()["annotations"] == [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0, "ignore": 0}
    ]


@pytest.mark.parametrize(
    ("annotation", "line", "boxes"),
    [
        (
            note(0),
            "30: warning: annotation-id-0: annotation id 0: pycocotools takes it for unmatched; renumbered here",
            2,
        ),
        (note(1), "30: error: duplicate-annotation-id: annotation id 1 is used twice; both boxes are kept", 2),
        (note(2, image_id=8), "30: error: unknown-image: annotation 2: no image has the id 8; left out", 1),
        (note(2, category_id=4), "30: error: unknown-class: annotation 2: no category has the id 4; left out", 1),
        (note(2, bbox=[1, 2, 0, 5]), "30: error: zero-box: annotation 2: box of 0 x 5 px; left out", 1),
        (note(2, bbox=[1, 2, -3, 5]), "30: error: negative-box: annotation 2: box of -3 x 5 px; left out", 1),
        (
            note(2, bbox=[1, 2, float("nan"), 5]),
            "30: error: bad-box: annotation 2: bbox must be four finite numbers x y w h, not [1, 2, nan, 5]; left out",
            1,
        ),
        (
            note(2, bbox=None),
            "30: error: bad-box: annotation 2: bbox must be four finite numbers x y w h, not None; left out",
            1,
        ),
        (
            note(2, bbox=[50, 2, 4, 4]),
            "30: error: box-outside: annotation 2: box lies outside the image of 40 x 30 px; left out",
            1,
        ),
        (
            note(2, bbox=[-5, 2, 10, 4]),
            "30: warning: box-outside: annotation 2: box reaches 5 px beyond the image of 40 x 30 px; clipped",
            2,
        ),
        (note(2, area=0), "30: warning: no-area: annotation 2: no area; width x height is used", 2),
        (
            note(2, segmentation=[[1, 2, 3]]),
            "30: error: bad-mask: annotation 2: a polygon of 3 numbers: x and y must come in pairs; "
            "the box has no mask",
            2,
        ),
        (7, "30: error: bad-annotation: annotation 1 is not a mapping; left out", 1),
    ],
)
def test_coco_annotations(tmp_path: Path, annotation: object, line: str, boxes: int) -> None:
    # images end on line 9, categories on 15, the first annotation stands on 17 to 29
    assert report(coco(tmp_path, annotations=[note(1, bbox=[2, 2, 9, 9]), annotation]), tmp_path) == [
        f"train.json:{line}"
    ]
    truth = open_dataset(tmp_path / "train.json", quiet=True).coco_ground_truth()
    assert [entry["id"] for entry in truth["annotations"]] == list(range(1, boxes + 1))


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (
            {"id": 7, "file_name": "b.png", "width": 40, "height": 30},
            "9: error: duplicate-image-id: image id 7 is used twice; b.png is left out",
        ),
        (
            {"id": 8, "file_name": "/etc/passwd", "width": 40, "height": 30},
            "9: error: unsafe-path: file_name '/etc/passwd' leaves the image folder; the image is left out",
        ),
        (
            {"id": 8, "file_name": "x/../../b.png", "width": 40, "height": 30},
            "9: error: unsafe-path: file_name 'x/../../b.png' leaves the image folder; the image is left out",
        ),
        (
            {"id": "8"},
            "9: error: bad-image: an image needs an `id` and a `file_name`, not {'id': '8'}; left out",
        ),
    ],
)
def test_coco_images(tmp_path: Path, image: dict[str, Any], line: str) -> None:
    first = {"id": 7, "file_name": "a.png", "width": 40, "height": 30}
    assert report(coco(tmp_path, images=[first, image]), tmp_path) == [f"train.json:{line}"]
    assert open_dataset(tmp_path / "train.json", quiet=True).image_ids == [7]


def test_coco_image_without_size_objects_or_file(tmp_path: Path) -> None:
    first = {"id": 7, "file_name": "a.png"}
    second = {"id": 8, "file_name": "gone.png", "width": 4, "height": 4}
    assert report(coco(tmp_path, images=[first, second]), tmp_path) == [
        "train.json:3: warning: no-size: a.png: width and height are missing or impossible; the image's own are used",
        "train.json:7: info: no-objects: gone.png has no objects",
        "gone.png: error: missing-image: no such image",
    ]


def test_category_ids_with_gaps_become_labels_without(tmp_path: Path) -> None:
    categories = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]
    assert report(coco(tmp_path, categories=categories), tmp_path) == [
        "train.json:11: info: category-gaps: 2 category ids from 3 to 90 with 86 gaps; labels are 0..1"
    ]
    data = open_dataset(tmp_path / "train.json")
    assert (data.classes, data.category_ids) == (("cat", "dog"), (3, 90))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: error: unreadable: not valid JSON: Expecting value"),
        ("{\n\n,", ":3: error: unreadable: not valid JSON: Expecting property name enclosed in double quotes"),
        (
            "[]",
            ": error: unreadable: not a COCO instances file: the list `images` is missing "
            "(needed: images, annotations, categories)",
        ),
        ("[" * 100_000, ": error: unreadable: not valid JSON: nested too deeply"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            ": error: unreadable: category id 1 stands for both 'a' and 'b'",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            ": error: unreadable: two categories are called 'a'",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            ": error: unreadable: a category needs a whole number `id` and a `name`, not {'id': 1}",
        ),
    ],
)
def test_unusable_coco_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.json").write_text(text)
    assert report(tmp_path / "train.json", tmp_path) == [f"train.json{message}"]
    with pytest.raises(DataError):
        open_dataset(tmp_path / "train.json")


def test_a_file_that_is_two_images(tmp_path: Path) -> None:
    images = [{"id": own, "file_name": "a.png", "width": 40, "height": 30} for own in (7, 8)]
    path = coco(tmp_path, images=images, annotations=[note(1), note(2, image_id=8, bbox=[5, 5, 9, 9], area=81)])
    assert report(path, tmp_path) == [
        "train.json:9: warning: duplicate-image: a.png: the file of image 7 too; both are kept"
    ]
    assert len(open_dataset(path, quiet=True)) == 2
