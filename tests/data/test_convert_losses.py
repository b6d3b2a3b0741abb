"""What a format cannot say is left out of a conversion and counted in a message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import list_splits, open_dataset
from detzoo.data.dataset import Dataset
from detzoo.data.formats.capabilities import Target, losses
from detzoo.data.formats.read_back import WrittenImage, differences
from detzoo.data.formats.writing import write_datasets
from detzoo.errors import DataError


def source(folder: Path) -> Path:
    """One image with an ordinary, a difficult and a crowd box, each with a mask."""
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    outline = [[1, 2, 9, 2, 9, 10, 1, 10]]
    box = {"image_id": 1, "category_id": 1, "area": 64, "segmentation": outline}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "bbox": [1, 2, 8, 8], **box},
            {"id": 2, "bbox": [2, 2, 8, 8], "ignore": 1, **box},
            {"id": 3, "bbox": [3, 2, 8, 8], "iscrowd": 1, **box},
        ],
    }
    (folder / "train.json").write_text(json.dumps(content))
    return folder / "train.json"


@pytest.mark.parametrize(
    ("target", "flags", "told"),
    [
        ("coco", [(False, False), (True, False), (False, True)], []),
        ("voc", [(False, False), (True, False)], ["1 crowd regions", "3 masks"]),
        ("yolo", [(False, False)], ["1 crowd regions", "1 difficult boxes", "3 masks"]),
    ],
)
def test_crowds_difficult_boxes_and_masks(
    tmp_path: Path, target: str, flags: list[tuple[bool, bool]], told: list[str]
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["convert", str(source(tmp_path / "in")), "--to", target, "--out", str(out)])
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert [line.startswith(f"left out: train: {text}") for line, text in zip(lines, told, strict=True)] == [
        True
    ] * len(told)
    index = open_dataset(out, list_splits(out)[0]).annotations()
    assert list(zip(index.difficult.tolist(), index.crowd.tolist(), strict=True)) == flags


@pytest.mark.parametrize("target", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("names", [("Train", "Validation", "holdout"), ("names", "path"), ("fold 1", "été")])
def test_splits_of_any_name_survive(tmp_path: Path, target: str, names: tuple[str, ...]) -> None:
    source(tmp_path / "in")
    parts = "".join(f"  {name}: {{annotations: train.json, images: .}}\n" for name in names)
    (tmp_path / "in" / "data.yaml").write_text(f"format: coco\nsplits:\n{parts}", encoding="utf-8")
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["convert", str(tmp_path / "in"), "--to", target, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert list_splits(out) == names


def test_a_split_that_can_be_no_folder_is_rejected(tmp_path: Path) -> None:
    data = open_dataset(source(tmp_path / "in"))
    with pytest.raises(DataError, match="'a/b' cannot be the name of a folder"):
        write_datasets({"a/b": data}, tmp_path / "out", "yolo")


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ('"bbox": [1.0, 2.0', '"bbox": [1.5, 2.0', "a.png: a box has moved by 0.5 px"),
        ('"category_id": 1', '"category_id": 2', "a.png: 2 boxes, not 3"),
        ('"iscrowd": 1', '"iscrowd": 0', "a.png: a box has another crowd flag"),
        ('"ignore": 1', '"ignore": 0', "a.png: a box has another difficult flag"),
        ('"segmentation": {"size": [30, 40], "counts": "', '"extra": {"size": [30, 40], "counts": "', "a mask differs"),
        ('"file_name": "a.png"', '"file_name": "b.png"', "a.png is missing"),
        ('"name": "cat"', '"name": "dog"', "no category is called 'cat'"),
    ],
)
def test_a_file_that_says_something_else_is_found(tmp_path: Path, old: str, new: str, difference: str) -> None:
    data = open_dataset(source(tmp_path / "in"))
    out = tmp_path / "out"
    write_datasets({"train": data}, out, "coco")
    written = {"train": [WrittenImage(0, "a.png", (30, 40))]}
    assert differences({"train": data}, written, out / "data.yaml", "coco") == []
    path = out / "annotations" / "instances_train.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if "b.png" in new:
        (out / "train" / "a.png").unlink()
    assert difference in differences({"train": data}, written, out / "data.yaml", "coco")[0]


def coco(folder: Path, splits: dict[str, list[str]], boxes: list[list[float]]) -> dict[str, Dataset]:
    for split, names in splits.items():
        images = folder / "images" / split
        images.mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(images / f"{split}.png")
        content = {
            "images": [{"id": 1, "file_name": f"{split}.png", "width": 40, "height": 30}],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names, start=1)],
            "annotations": [
                {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3]}
                for number, box in enumerate(boxes, start=1)
            ],
        }
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return {split: open_dataset(folder, split) for split in splits}


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([1, 2, 1, 8], False),  # xmin = xmax = 2: readers take it for no box
        ([1, 2, 8, 0.5], False),
        ([1, 2, 1e-9, 8], False),
        ([1, 2, 1.5, 8], True),
        ([1, 2, 2, 2], True),
    ],
)
def test_boxes_that_voc_cannot_hold_are_told(tmp_path: Path, box: list[float], kept: bool) -> None:
    splits = coco(tmp_path / "in", {"train": ["cat"]}, [[5, 5, 10, 10], box])
    told = losses(splits, "voc")
    assert told == ([] if kept else ["train: 1 boxes of 1 px or less (voc's corners are both inside the box)"])
    write_datasets(splits, tmp_path / "out", "voc")
    assert len(open_dataset(tmp_path / "out", "train").annotations().boxes) == 1 + kept


@pytest.mark.parametrize("target", ["coco", "voc", "yolo"])
@pytest.mark.parametrize("there", [True, False])
def test_splits_of_different_classes_leave_nothing(tmp_path: Path, target: Target, there: bool) -> None:
    splits = coco(tmp_path / "in", {"train": ["cat"], "val": ["CAT"]}, [[5, 5, 10, 10]])
    out = tmp_path / "out"
    if there:
        out.mkdir()
    with pytest.raises(DataError, match="the splits train and val have different classes"):
        write_datasets(splits, out, target)
    assert out.exists() == there
    assert not there or list(out.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_what_does_not_read_back_leaves_nothing(tmp_path: Path, there: bool) -> None:
    splits = coco(tmp_path / "in", {"train": ["c\uffffat"]}, [[5, 5, 10, 10]])  # no letter of xml
    out = tmp_path / "out"
    if there:
        out.mkdir()
    with pytest.raises(DataError, match="out: what was written does not read back as it should"):
        write_datasets(splits, out, "voc", copy=False)
    assert out.exists() == there
    assert not there or list(out.iterdir()) == []
    assert (tmp_path / "in" / "images" / "train" / "train.png").is_file()  # a link is removed, not what it leads to


def test_images_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    coco(folder, {"train": ["cat"]}, [[5, 5, 10, 10]])
    (folder / "images" / "train" / "broken.png").write_text("no image")
    listed = folder / "annotations" / "instances_train.json"
    content = json.loads(listed.read_text())
    content["images"].append({"id": 2, "file_name": "broken.png", "width": 40, "height": 30})
    listed.write_text(json.dumps(content))
    result = CliRunner().invoke(app, ["convert", str(folder), "--to", "coco", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out / 'data.yaml'}: train 2 images; 1 of them left out\n"
