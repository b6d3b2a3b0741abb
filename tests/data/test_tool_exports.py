"""Exports as annotation tools write them, made by hand: images, boxes and classes are those that the tool had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from detzoo.data import Dataset, list_splits, open_dataset
from detzoo.data.checking.check import check
from detzoo.errors import DataError

WIDTH, HEIGHT = 40, 20
BOX = [4.0, 2.0, 14.0, 12.0]  # xyxy px
ROW = "0.225 0.35 0.25 0.5"  # the same as YOLO writes it


def image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (len(path.stem) * 9 % 256, 80, 90)).save(path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def coco(names: list[str], categories: list[dict[str, object]] | None = None, category: int = 1) -> str:
    images = [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names)]
    boxes = [
        {"id": n + 1, "image_id": n, "category_id": category, "bbox": [4, 2, 10, 10], "area": 100, "iscrowd": 0}
        for n in range(len(names))
    ]
    categories = categories or [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    return json.dumps({"images": images, "annotations": boxes, "categories": categories})


def guesses(data: Dataset) -> list[str]:
    return [problem.message for problem in data.problems if problem.code == "guess"]


def read(spec: Path, split: str | None = None, *, stems: tuple[str, ...], names: tuple[str, ...] = ("dog",)) -> Dataset:
    """The split, held against what every export here has: one box of class dog on each image."""
    data = open_dataset(spec, split, quiet=True)
    index = data.annotations()
    assert tuple(Path(path).stem for path in data.paths) == stems
    assert index.boxes.round(6).tolist() == [BOX] * len(stems)
    assert {data.classes[label] for label in index.labels} == {"dog"}
    assert data.classes == names
    assert all(data[at].image.shape == (HEIGHT, WIDTH, 3) for at in range(len(data)))
    return data


ROBOFLOW = [
    {"id": 0, "name": "pets", "supercategory": "none"},
    {"id": 1, "name": "cat", "supercategory": "pets"},
    {"id": 2, "name": "dog", "supercategory": "pets"},
]


def roboflow_coco(root: Path, categories: list[dict[str, object]] = ROBOFLOW, category: int = 2) -> Path:
    for split in ("train", "valid"):
        image(root / split / f"{split}_jpg.rf.0a1b2c.jpg")
        text = coco([f"{split}_jpg.rf.0a1b2c.jpg"], categories, category)
        write(root / split / "_annotations.coco.json", text)
    write(root / "README.roboflow.txt", "pets\n")
    return root


def test_roboflow_coco(tmp_path: Path) -> None:
    assert list_splits(roboflow_coco(tmp_path)) == ("train", "valid")
    for split in ("train", "valid"):
        data = read(tmp_path, split, stems=(f"{split}_jpg.rf.0a1b2c",), names=("cat", "dog"))
        assert "'pets' (id 0)" in guesses(data)[0]
    one = read(tmp_path / "valid" / "_annotations.coco.json", stems=("valid_jpg.rf.0a1b2c",), names=("cat", "dog"))
    assert one.split == "valid"


def test_roboflows_root_class_may_be_called_like_a_class_but_not_have_a_box(tmp_path: Path) -> None:
    named = [{**entry, "name": "dog"} if entry["id"] == 0 else {**entry, "supercategory": "dog"} for entry in ROBOFLOW]
    read(roboflow_coco(tmp_path / "same", named), "train", stems=("train_jpg.rf.0a1b2c",), names=("cat", "dog"))
    with pytest.raises(DataError, match="two categories are called 'dog'"):
        open_dataset(roboflow_coco(tmp_path / "both", named, category=0), "train")
    used = open_dataset(roboflow_coco(tmp_path / "used", category=0), "train", quiet=True)
    assert used.classes == ("pets", "cat", "dog")
    assert guesses(used) == []


@pytest.mark.parametrize(
    "prefix", ["../", "", "./", "..\\", "C:\\Users\\me\\pets\\", "/content/drive/pets/", "../../x/"]
)
def test_roboflow_yolo_and_paths_of_another_machine(tmp_path: Path, prefix: str) -> None:
    folder = tmp_path / "pets"
    for split in ("train", "valid"):
        image(folder / split / "images" / f"{split}.jpg")
        write(folder / split / "labels" / f"{split}.txt", f"1 {ROW}\n")
    slash = "\\" if "\\" in prefix else "/"
    text = f"train: '{prefix}train{slash}images'\nval: '{prefix}valid{slash}images'\nnc: 2\nnames: ['cat', 'dog']\n"
    write(folder / "data.yaml", text)
    for split, stem in (("train", "train"), ("val", "valid")):
        data = read(folder, split, stems=(stem,), names=("cat", "dog"))
        assert bool(guesses(data)) == (prefix not in ("../", "", "./"))


def test_two_splits_of_another_machine_are_never_one_folder(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.txt", f"0 {ROW}\n")
    write(tmp_path / "data.yaml", "train: /x/train/images\nval: /x/valid/images\nnames: [dog]\n")
    with pytest.raises(DataError, match="valid/images is not there"):
        open_dataset(tmp_path, "val")


def cvat_yolo(root: Path) -> Path:
    for split in ("train", "valid"):
        image(root / f"obj_{split}_data" / f"{split}.jpg")
        write(root / f"obj_{split}_data" / f"{split}.txt", f"1 {ROW}\n")
        write(root / f"{split}.txt", f"data/obj_{split}_data/{split}.jpg\n")
    write(root / "obj.names", "cat\ndog\n")
    write(
        root / "obj.data",
        "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n",
    )
    return root


@pytest.mark.parametrize("parent", ["task", "images/task"])
def test_cvat_yolo(tmp_path: Path, parent: str) -> None:
    root = cvat_yolo(tmp_path / parent)
    assert list_splits(root) == ("train", "valid")
    for split in ("train", "valid"):
        data = read(root, split, stems=(split,), names=("cat", "dog"))
        assert "data/obj_" in guesses(data)[0]


def test_cvat_yolo_near_misses(tmp_path: Path) -> None:
    root = cvat_yolo(tmp_path)
    (root / "valid.txt").unlink()
    assert list_splits(root) == ("train",)
    assert "valid = data/valid.txt" in guesses(open_dataset(root, quiet=True))[0]
    (root / "obj_train_data" / "train.jpg").unlink()
    with pytest.raises(DataError, match=r"train\.jpg.*no such image"):
        open_dataset(root)
    (root / "obj.names").write_text("cat\n")
    with pytest.raises(DataError, match=r"obj\.data: classes is 2, but obj\.names has 1"):
        open_dataset(root)
    (root / "obj.names").unlink()
    with pytest.raises(DataError, match=r"obj\.names is not here"):
        open_dataset(root)


@pytest.mark.parametrize("splits", [(), ("train", "val")])
def test_labelimg(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits or (".",):
        image(tmp_path / split / "photo.jpg")
        write(tmp_path / split / "photo.txt", f"1 {ROW}\n")
        write(tmp_path / split / "classes.txt", "cat\ndog\n")
    assert list_splits(tmp_path) == (splits or ("all",))
    for split in splits or ("all",):
        assert guesses(read(tmp_path, split, stems=("photo",), names=("cat", "dog"))) == []


def test_labelimg_near_misses(tmp_path: Path) -> None:
    image(tmp_path / "photo.jpg")
    write(tmp_path / "photo.txt", f"1 {ROW}\n")
    with pytest.raises(DataError, match="without class names"):
        open_dataset(tmp_path)
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "gone.txt", f"1 {ROW}\n")
    assert [(problem.code, Path(problem.path).name) for problem in check(tmp_path)] == [("missing-image", "gone.txt")]
    write(tmp_path / "photo.txt", "a caption\n")
    with pytest.raises(DataError, match="no dataset found"):
        open_dataset(tmp_path)


NAMES: list[tuple[str, str, str]] = [  # as the tool writes it, where the image lies, what is found
    ("images\\red cell.jpg", "images/red cell.jpg", "Label Studio on Windows"),
    ("red%20cell.jpg", "images/red cell.jpg", "VoTT"),
    ("/home/me/export/images/red cell.jpg", "images/red cell.jpg", "labelme2coco"),
    ("C:\\Users\\me\\red cell.jpg", "images/red cell.jpg", "Windows"),
    ("../images/red cell.jpg", "images/red cell.jpg", "relative to annotations/"),
    ("https://app.org/data/upload/3/red%20cell.jpg?token=a", "images/red cell.jpg", "a server"),
    ("/data/local-files/?d=job/images/red%20cell.jpg", "images/red cell.jpg", "Label Studio, local files"),
    ("s3://bucket/images/red cell.jpg", "images/red cell.jpg", "S3"),
    ("upload/1/3fa85f64-red cell.jpg", "images/red cell.jpg", "Label Studio's upload"),
    ("images/3fa85f64-red cell.jpg", "images/3fa85f64-red cell.jpg", "exported together with the images"),
]


@pytest.mark.parametrize(("written", "place", "who"), NAMES)
@pytest.mark.parametrize("named", [False, True])
def test_file_names_of_another_machine(tmp_path: Path, written: str, place: str, who: str, named: bool) -> None:
    image(tmp_path / place)
    spec = write(tmp_path / "result.json", coco([written]))
    if named:
        part = "{annotations: result.json, images: images}"
        spec = write(tmp_path / "data.yaml", f"format: coco\nsplits: {{train: {part}}}\n")
    data = read(spec, stems=(Path(place).stem,), names=("cat", "dog"))
    assert data.paths[0] == str(tmp_path / place), who
    as_written = written == place and not named
    assert bool(guesses(data)) != as_written
    assert [problem.severity for problem in check(spec)] == ([] if as_written else ["warning"])


def test_names_that_would_lead_to_one_file_are_not_shortened(tmp_path: Path) -> None:
    image(tmp_path / "images" / "0.jpg")
    spec = write(tmp_path / "result.json", coco(["/x/train/0.jpg", "/x/val/0.jpg"]))
    with pytest.raises(DataError, match="no usable image"):
        open_dataset(spec)


def test_one_rule_for_a_whole_file_and_no_way_out_of_the_folder(tmp_path: Path) -> None:
    image(tmp_path / "secret.jpg")
    for name in ("a", "b"):
        image(tmp_path / "data" / f"{name}.jpg")
    spec = write(tmp_path / "data" / "result.json", coco(["a.jpg", "b.jpg", "../secret.jpg", "/etc/c.jpg"]))
    data = open_dataset(spec, quiet=True)
    assert [Path(path).name for path in data.paths] == ["a.jpg", "b.jpg"]
    assert [problem.code for problem in data.problems].count("unsafe-path") == 2


def test_an_image_of_another_size_behind_a_shortened_name_is_told(tmp_path: Path) -> None:
    image(tmp_path / "images" / "0.jpg", (WIDTH + 5, HEIGHT))
    found = check(write(tmp_path / "result.json", coco(["/home/me/0.jpg"])))
    assert [problem.code for problem in found] == ["guess", "size-mismatch"]


def test_cvat_coco(tmp_path: Path) -> None:
    image(tmp_path / "images" / "default" / "photo.jpg")
    write(tmp_path / "annotations" / "instances_default.json", coco(["photo.jpg"]))
    assert list_splits(tmp_path) == ("default",)
    assert guesses(read(tmp_path, stems=("photo",), names=("cat", "dog"))) == []


@pytest.mark.parametrize(
    "line", ["data/images/train/a.jpg", "/home/me/pets/images/train/a.jpg", "./images/train/a.jpg"]
)
def test_lists_of_images_with_other_roots(tmp_path: Path, line: str) -> None:
    image(tmp_path / "images" / "train" / "a.jpg")
    write(tmp_path / "labels" / "train" / "a.txt", f"0 {ROW}\n")
    write(tmp_path / "train.txt", f"{line}\n")
    write(tmp_path / "data.yaml", "path: .\ntrain: train.txt\nnames: {0: dog}\n")
    assert bool(guesses(read(tmp_path, stems=("a",)))) == (line[0] != ".")


def test_label_studio_yolo(tmp_path: Path) -> None:
    image(tmp_path / "images" / "3fa85f64-a.jpg")
    write(tmp_path / "labels" / "3fa85f64-a.txt", f"1 {ROW}\n")
    write(tmp_path / "classes.txt", "cat\ndog\n")
    write(tmp_path / "notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {"version": "1.0"}}')
    assert "notes.json" in guesses(read(tmp_path, stems=("3fa85f64-a",), names=("cat", "dog")))[0]
