"""Datasets with special files, links, odd names and encodings: read like any other, or told; never read for ever."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import list_splits, open_dataset
from detzoo.data.checking.check import check
from detzoo.data.class_folders import read_class_folders
from detzoo.data.dataset import Dataset
from detzoo.errors import DataError

XML = (
    "<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><bndbox>"
    "<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>12</ymax></bndbox></object></annotation>"
)


def save(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)).save(path)


def yolo(root: Path) -> Path:
    for seed, name in enumerate("ab"):
        save(root / "images" / f"{name}.png", seed)
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{name}.txt").write_text("0 .5 .5 .2 .2\n")
    (root / "data.yaml").write_text("train: images\nnames: [cat]\n")
    return root


def voc(root: Path) -> Path:
    for seed, name in enumerate("ab"):
        save(root / f"{name}.png", seed)
        (root / f"{name}.xml").write_text(XML)
    return root


def coco(root: Path) -> Path:
    for seed, name in enumerate("ab"):
        save(root / f"{name}.png", seed)
    sizes = {"width": 40, "height": 30}
    box = {"category_id": 1, "bbox": [1, 2, 9, 9], "area": 81}
    content = {
        "images": [{"id": n, "file_name": f"{name}.png", **sizes} for n, name in enumerate("ab")],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": n + 1, "image_id": n, **box} for n in range(2)],
    }
    (root / "train.json").write_text(json.dumps(content))
    return root / "train.json"


def masks(root: Path) -> Path:
    for seed, name in enumerate("ab"):
        save(root / name / "images" / f"{name}.png", seed)
        save(root / name / "masks" / "m.png", seed)
    return root


def replaced(path: Path, how: str) -> None:
    path.unlink()
    if how == "fifo":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "circle":
        path.symlink_to(path)
    elif how == "nowhere":
        path.symlink_to("gone")
    else:
        with path.open("wb") as file:
            file.truncate(2**42)


PLACES: list[tuple[Callable[[Path], Path], str]] = [
    (yolo, "images/b.png"),
    (yolo, "labels/b.txt"),
    (yolo, "data.yaml"),
    (voc, "b.png"),
    (voc, "b.xml"),
    (coco, "b.png"),
    (coco, "train.json"),
    (masks, "b/images/b.png"),
    (masks, "b/masks/m.png"),
]


@pytest.mark.parametrize(("make", "place"), PLACES, ids=[f"{make.__name__}-{place}" for make, place in PLACES])
@pytest.mark.parametrize("how", ["fifo", "device", "circle", "nowhere", "huge"])
def test_special_files_are_told(tmp_path: Path, make: Callable[[Path], Path], place: str, how: str) -> None:
    spec = make(tmp_path)
    replaced(tmp_path / place, how)
    try:
        found = [str(problem) for problem in check(spec)]
    except DataError as error:
        found = [str(error)]
    assert any(Path(place).name in line for line in found)
    try:
        data = open_dataset(spec, quiet=True)
    except DataError:
        return
    messages = [message for position in range(len(data)) if (message := refusal(data, position))]
    assert all(place in message for message in messages)


def refusal(data: Dataset, position: int) -> str:
    """Why an image cannot be read, if so."""
    try:
        data.sample(position)
    except DataError as error:
        return str(error)
    return ""


def test_linked_folders_are_read(tmp_path: Path) -> None:
    yolo(tmp_path / "real")
    for kind in ("images", "labels"):
        (tmp_path / "set" / kind / "train").mkdir(parents=True)
        (tmp_path / "set" / kind / "train" / "a").symlink_to(tmp_path / "real" / kind)
    (tmp_path / "set" / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    data = open_dataset(tmp_path / "set")
    assert [Path(path).name for path in data.paths] == ["a.png", "b.png"]
    assert data.annotations().labels.tolist() == [0, 0]


def test_linked_class_folders_are_read(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "a.png")
    save(tmp_path / "set" / "dog" / "a.png")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "elsewhere")
    assert read_class_folders(tmp_path / "set", val_fraction=0).classes == ("cat", "dog")


def test_endings_that_are_images_too_and_those_that_are_told(tmp_path: Path) -> None:
    yolo(tmp_path)
    for ending, kind in ((".jfif", "JPEG"), (".jpe", "JPEG"), (".avif", "AVIF"), (".jp2", "JPEG2000")):
        Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "images" / f"x{ending}", kind)
    (tmp_path / "images" / "raw.heic").write_bytes(b"?")
    data = open_dataset(tmp_path, quiet=True)
    assert len(data) == 6
    assert [problem.message for problem in data.problems if problem.code == "passed-over"] == [
        "files that are not read: 1 .heic; save them as .png or .jpg"
    ]


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    yolo(tmp_path)
    odd = os.fsdecode(b"caf\xe9")
    save(tmp_path / "images" / f"{odd}.png", 5)
    (tmp_path / "labels" / f"{odd}.txt").write_text("0 .5 .5 .2 .2\n0 .5 .5 .2 2\n")
    data = open_dataset(tmp_path, quiet=True)
    assert sorted(Path(path).stem for path in data.paths) == ["a", "b", odd]
    assert all(data.sample(position).image.shape == (30, 40, 3) for position in range(3))
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert "box reaches" in result.output
    for target in ("coco", "voc", "yolo"):
        out = tmp_path / target
        assert CliRunner().invoke(app, ["convert", str(tmp_path), "--out", str(out), "--to", target]).exit_code == 0
        assert len(open_dataset(out, list_splits(out)[0])) == 3


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marked_encodings_of_every_text_of_a_set(tmp_path: Path, encoding: str) -> None:
    yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "labels" / "a.txt").write_bytes("0 .5 .5 .2 .2\n".encode(encoding))
    (tmp_path / "classes.txt").write_bytes("RBC\n".encode(encoding))
    data = open_dataset(tmp_path)
    assert data.classes == ("RBC",)
    assert len(data.annotations().labels) == 2
    content = json.loads(coco(tmp_path / "images").read_text())
    (tmp_path / "x.json").write_bytes(json.dumps(content).encode(encoding))
    assert len(open_dataset(tmp_path / "x.json", quiet=True)) == 2


@pytest.mark.parametrize("encoding", ["gbk", "latin-1"])
def test_other_encodings_are_one_message(tmp_path: Path, encoding: str) -> None:
    yolo(tmp_path)
    word = {"gbk": "红", "latin-1": "é"}[encoding]
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_bytes(f"{word}\n".encode(encoding))
    with pytest.raises(DataError, match=r"classes\.txt: not UTF-8: byte 0 is 0x"):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\n")
    (tmp_path / "labels" / "a.txt").write_bytes(f"{word} .5 .5 .2 .2\n".encode(encoding))
    assert [(problem.code, Path(problem.path).name) for problem in check(tmp_path)] == [("bad-annotation", "a.txt")]


@pytest.mark.parametrize(
    "row",
    ["0 .1 1e6 .3 .1 .3 .4", "0 .1 1e308 .3 .1 .3 .4", "0 .1 -1e9 .3 .1 .3 .4", f"{'9' * 5000} .5 .5 .1 .1",
     "1_0 1 1 1 1", "0 ٠ .5 .1 .1", "0 .5 .5 1e308 1e308", "0 .5 .5 inf .1", "1e400 .5 .5 .1 .1"],
)  # fmt: skip
def test_yolo_numbers_that_mean_nothing(tmp_path: Path, row: str) -> None:
    yolo(tmp_path)
    (tmp_path / "labels" / "b.txt").write_text(f"{row}\n")
    found = [problem for problem in check(tmp_path) if problem.path.endswith("b.txt")]
    assert [(problem.severity != "info", problem.line) for problem in found] == [(True, 1)]
    data = open_dataset(tmp_path, quiet=True)
    truth = data.coco_ground_truth()
    assert len(truth["annotations"]) <= 2
    boxes = data.sample(1).boxes
    assert (boxes >= 0).all()
    assert (boxes <= [40, 30, 40, 30]).all()


SEGMENTATIONS: list[tuple[Any, str | None]] = [
    ([[1, 2, 9, 2, 9, 10, 1, 10]], None),
    ([[1, 2, 1e9, 2, 9, 10]], "mask-outside"),
    ([[1, 2, 1e308, 2, 9, 10]], "mask-outside"),
    ([[0.1, 0.1, 0.2, 0.1, 0.2, 0.3]], "bad-mask"),
    ([[30, 20, 35, 20, 35, 25]], "bad-mask"),
    ([[1, 2, "3", 4, 5, 6]], "bad-mask"),
    ([[1, 2]], "bad-mask"),
    ({"size": [40, 30], "counts": [1200]}, "bad-mask"),
    ({"size": [30, 40], "counts": [1199]}, "bad-mask"),
    ({"size": [30, 40], "counts": "cut`"}, "bad-mask"),
    ({"size": [10**9, 10**9], "counts": [10**18]}, "bad-mask"),
    ("round", "bad-mask"),
    (0, "bad-mask"),
]


@pytest.mark.parametrize(("value", "code"), SEGMENTATIONS, ids=lambda value: str(value)[:30])
def test_masks_are_checked_and_never_crash(tmp_path: Path, value: Any, code: str | None) -> None:
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = value
    path.write_text(json.dumps(content, indent=1))
    found = [problem for problem in check(path) if problem.severity != "info"]
    assert [problem.code for problem in found] == ([] if code is None else [code])
    assert all(problem.line and problem.path == str(path) for problem in found)
    data = open_dataset(path, quiet=True)
    assert len(data.coco_ground_truth()["annotations"]) == 2
    if data.has_masks:
        sampled = data.sample(0).masks
        assert sampled is not None
        assert sampled.shape == (1, 30, 40)


@pytest.mark.parametrize("path", ["x" * 300, r"a\0b", "loop", "~nobody-of-that-name/x", "9" * 5000])
def test_paths_of_a_data_yaml_that_cannot_be(tmp_path: Path, path: str) -> None:
    yolo(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "data.yaml").write_text(f'train: "{path}"\nnames: [cat]\n')
    with pytest.raises(DataError, match=r"data\.yaml"):
        open_dataset(tmp_path)
