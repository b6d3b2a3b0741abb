"""Defects of YOLO labels and of folders of masks, one at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detzoo.data import open_dataset
from tests.data.damaged_sets import image, report


def yolo(folder: Path, text: str) -> Path:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    image(folder / "images" / "a.png")
    (folder / "labels" / "a.txt").write_text(text)
    (folder / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    return folder


@pytest.mark.parametrize(
    ("text", "line", "boxes"),
    [
        ("", ": info: no-objects: no objects", 0),
        ("\n2 .5 .5 .1 .1", ":2: error: unknown-class: class 2 has no name in the class list; left out", 0),
        ("0 .5 .5 0 .1", ":1: error: zero-box: cat: box of 0 x 3 px; left out", 0),
        ("0 .5 .5 -.1 .1", ":1: error: negative-box: cat: box of -4 x 3 px; left out", 0),
        ("1 1.5 .5 .1 .1", ":1: error: box-outside: dog: box lies outside the image; left out", 0),
        ("1 1 .5 .5 .1", ":1: warning: box-outside: dog: box reaches 10.0 px beyond the image; clipped", 1),
        ("0 .5 .5 .1 .1\n0 .5 .5 .1 .1", ":2: warning: duplicate-box: the same line again; kept", 2),
        *[
            (
                text,
                f":1: error: bad-annotation: {text!r}: needed: class cx cy w h, "
                "or class and the x y of at least 3 points; left out",
                0,
            )
            for text in ("0 .5 .5", "cat .5 .5 .1 .1", "0.5 .5 .5 .1 .1", "0 nan .5 .1 .1", "0 .5 .5 .1 .1 .9")
        ],
    ],
)
def test_yolo_lines(tmp_path: Path, text: str, line: str, boxes: int) -> None:
    assert report(yolo(tmp_path, text)) == [f"labels/a.txt{line}"]
    assert len(open_dataset(tmp_path, quiet=True).annotations().labels) == boxes


def test_yolo_polygons_become_boxes_and_masks(tmp_path: Path) -> None:
    sample = open_dataset(yolo(tmp_path, "1 .25 .2 .75 .2 .75 .8 .25 .8")).sample(0)
    np.testing.assert_allclose(sample.boxes, [[10, 6, 30, 24]], atol=1e-5)
    assert sample.masks is not None
    assert sample.masks.sum() == 20 * 18


def test_yolo_lists_that_climb(tmp_path: Path) -> None:
    yolo(tmp_path, "0 .5 .5 .1 .1")
    (tmp_path / "train.txt").write_text("./images/a.png\n/etc/passwd\n../x.png\nimages/gone.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    found = report(tmp_path)
    assert found[:2] == [
        "train.txt:2: error: unsafe-path: '/etc/passwd' leaves the dataset's folder; left out",
        "train.txt:3: error: unsafe-path: '../x.png' leaves the dataset's folder; left out",
    ]
    assert found[2] == "images/gone.png: error: missing-image: no such image; left out"
    data = open_dataset(tmp_path, quiet=True)
    assert (len(data), len(data.annotations().labels)) == (1, 1)


def masks(folder: Path) -> Path:
    for name in ("images", "masks"):
        (folder / "s" / "x" / name).mkdir(parents=True)
    image(folder / "s" / "x" / "images" / "x.png")
    full = np.zeros((30, 40), np.uint8)
    full[2:9, 3:6] = 255
    Image.fromarray(full).save(folder / "s" / "x" / "masks" / "1.png")
    return folder / "s" / "x" / "masks"


def test_mask_folders(tmp_path: Path) -> None:
    folder = masks(tmp_path)
    thin, other = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    thin[10:20, 3] = 255
    other[8:10, 5:8] = 255
    Image.fromarray(thin).save(folder / "2.png")
    Image.fromarray(other).save(folder / "3.png")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(folder / "4.png")
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(folder / "5.png")
    (folder / "6.png").write_text("no")
    found = report(tmp_path)
    assert found[:3] == [
        "s/x/masks/2.png: warning: thin-mask: the mask is 1 x 10 px (zero by max - min); kept",
        "s/x/masks/4.png: error: zero-box: the mask is empty; left out",
        "s/x/masks/5.png: error: bad-mask: 4 x 3 px on an image of 40 x 30 px; left out",
    ]
    assert found[3].startswith("s/x/masks/6.png: error: bad-mask: the mask cannot be read: ")
    assert found[4:] == ["s/x/masks: warning: overlapping-masks: 1 px belong to more than one mask; kept"]
    assert open_dataset(tmp_path, quiet=True).sample(0).boxes.tolist() == [[3, 2, 6, 9], [3, 10, 4, 20], [5, 8, 8, 10]]


def test_a_list_that_names_an_image_twice(tmp_path: Path) -> None:
    yolo(tmp_path, "0 .5 .5 .1 .1")
    (tmp_path / "train.txt").write_text("images/a.png\n\n./images/a.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]\n")
    assert report(tmp_path / "data.yaml", tmp_path) == [
        "train.txt:3: error: duplicate-image-id: ./images/a.png is listed in line 1 already; this one is left out"
    ]
    assert len(open_dataset(tmp_path / "data.yaml", quiet=True)) == 1
