"""What is found without being named: held against the content; a guess is told; what stays unclear is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from detzoo.data import Dataset, list_splits, open_dataset
from detzoo.data.checking.check import check
from detzoo.data.formats.capabilities import target_of
from detzoo.data.formats.writing import write_datasets
from detzoo.errors import DataError


def write_image(path: Path, side: int = 20, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), colour).save(path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def coco(path: Path, *names: str, side: int = 20) -> Path:
    content = {
        "images": [{"id": n, "file_name": name, "width": side, "height": side} for n, name in enumerate(names, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 3, 10, 9], "area": 90}
            for n in range(1, len(names) + 1)
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }
    return write(path, json.dumps(content))


def voc(root: Path, *names: str, lists: dict[str, str] | None = None, suffix: str = ".png") -> Path:
    for name in names:
        write_image(root / "JPEGImages" / f"{name}{suffix}")
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
        write(
            root / "Annotations" / f"{name}.xml",
            "<annotation><size><width>20</width><height>20</height></size>"
            f"<object><name>dog</name>{box}</object></annotation>",
        )
    for name, text in (lists or {}).items():
        write(root / name, text)
    return root


def yolo(root: Path, *splits: str) -> Path:
    for split in splits:
        write_image(root / "images" / split / f"{split}.png")
        write(root / "labels" / split / f"{split}.txt", "0 0.5 0.5 0.2 0.2\n")
    return root


def guesses(data: Dataset) -> list[str]:
    return [problem.message for problem in data.problems if problem.code == "guess"]


def stems(spec: Path, split: str) -> list[str]:
    return [Path(path).stem for path in open_dataset(spec, split).paths]


@pytest.mark.parametrize(
    ("json_name", "split", "folder"),
    [
        ("val_annotations", "val_annotations", "val"), ("cells_val", "cells_val", "val"), ("val", "val", "val"),
        ("instances_val2017", "val", "val2017"), ("Validation", "Validation", "valid"), ("my-test", "my-test", "test"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["images", "."])
def test_coco_images_of_the_split_that_the_name_says(
    tmp_path: Path, json_name: str, split: str, folder: str, place: str
) -> None:
    for name in ("train", "aaa", folder):
        write_image(tmp_path / place / name / "0.png", colour={"train": "red", "aaa": "blue"}.get(name, "green"))
    coco(tmp_path / "annotations" / f"{json_name}.json", "0.png")
    data = open_dataset(tmp_path, split)
    assert Path(data.paths[0]).parent.name == folder
    assert guesses(data) == []


def test_coco_images_that_several_folders_could_hold(tmp_path: Path) -> None:
    for folder, side in (("one", 20), ("two", 30)):
        write_image(tmp_path / "images" / folder / "0.png", side)
    path = coco(tmp_path / "annotations" / "data.json", "0.png", side=30)
    data = open_dataset(path)  # the sizes decide
    assert Path(data.paths[0]).parent.name == "two"
    assert "two" in guesses(data)[0]
    write_image(tmp_path / "images" / "three" / "0.png", 30, "blue")
    with pytest.raises(DataError, match=r"three or .*two.*images: FOLDER"):
        open_dataset(path)


def test_the_folder_with_most_images_is_taken(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a" / "0.png")
    for name in "01":
        write_image(tmp_path / "images" / "b" / f"{name}.png")
    assert Path(open_dataset(coco(tmp_path / "annotations" / "x.json", "0.png", "1.png")).paths[0]).parent.name == "b"


def test_images_from_the_folder_of_another_split_are_told(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "train" / "0.png")
    data = open_dataset(coco(tmp_path / "annotations" / "val.json", "0.png"))
    assert "images/train" in guesses(data)[0]


MAIN = "ImageSets/Main"


@pytest.mark.parametrize(
    ("place", "train", "val", "expected"),
    [
        (MAIN, "red cell 1\n", "red cell 2\nb\n", "red cell 1|red cell 2,b"),
        (MAIN, "b\nred cell 1\n", "red cell 2  1\n", "b,red cell 1|red cell 2"),
        (MAIN, "b 1\nc -1\n", "red cell 1 0\n", "b,c|red cell 1"),
        (MAIN, "b.png\nc.xml\n", "JPEGImages/red cell 1.png\n", "b,c|red cell 1"),
        (MAIN, "JPEGImages/b.png Annotations/b.xml\n", "c\n", "b|c"),
        ("ImageSets", "b\n", "c\n", "b|c"),
        (".", "b\n", "c\n", "b|c"),
    ],
)
def test_voc_lists_as_they_are_written(tmp_path: Path, place: str, train: str, val: str, expected: str) -> None:
    lists = {f"{place}/train.txt": train, f"{place}/val.txt": val, "readme.txt": "These are cells.\n"}
    voc(tmp_path, "red cell 1", "red cell 2", "b", "c", lists=lists)
    assert list_splits(tmp_path) == ("train", "val")
    assert "|".join(",".join(stems(tmp_path, split)) for split in ("train", "val")) == expected


def test_a_second_column_and_lists_of_one_class_are_told(tmp_path: Path) -> None:
    voc(tmp_path, "a", lists={"ImageSets/Main/train.txt": "a 1\n"})
    assert "second column" in guesses(open_dataset(tmp_path))[0]
    voc(
        tmp_path / "other", "a", lists={"ImageSets/Main/dog_train.txt": "a 1\n", "ImageSets/Main/dog_val.txt": "a -1\n"}
    )
    data = open_dataset(tmp_path / "other")
    assert data.split == "all"
    assert "dog_train.txt" in guesses(data)[0]


@pytest.mark.parametrize("other", ["config.yaml", "data.yaml", "hyp.yml", "notes.json", "annotations/labels.json"])
@pytest.mark.parametrize("layout", ["voc", "yolo", "coco"])
def test_files_of_other_programs_hide_no_data(tmp_path: Path, other: str, layout: str) -> None:
    if layout == "voc":
        voc(tmp_path, "a", lists={"ImageSets/Main/train.txt": "a\n"})
    elif layout == "yolo":
        write(yolo(tmp_path, "train") / "classes.txt", "dog\n")
    else:
        write_image(tmp_path / "images" / "a.png")
        coco(tmp_path / "annotations" / "instances_train.json", "a.png")
    write(tmp_path / other, '{"model": {"lr": 0.1}, "images": 3}' if other.endswith("json") else "model: {lr: 0.1}\n")
    data = open_dataset(tmp_path, "train")
    assert (len(data), len(data.annotations().labels)) == (1, 1)
    beside = layout == "coco" and other == "notes.json"  # annotations/ has the files, nothing else is looked at
    assert bool(guesses(data)) == (other in ("data.yaml", "notes.json", "annotations/labels.json") and not beside)


def test_another_name_of_a_description_is_read_and_two_are_asked_for(tmp_path: Path) -> None:
    yolo(tmp_path, "train", "val")
    write(tmp_path / "cells.yaml", "path: .\ntrain: images/train\nval: images/val\nnames: [dog]\n")
    assert list_splits(tmp_path) == ("train", "val")
    write(tmp_path / "other.yaml", "path: .\ntrain: images/train\nnames: [cat]\n")
    with pytest.raises(DataError, match=r"cells\.yaml, other\.yaml"):
        list_splits(tmp_path)


@pytest.mark.parametrize("key", ["validation", "valid", "Val", "dev", "holdout", "fold_1"])
def test_a_key_that_holds_images_is_a_split(tmp_path: Path, key: str) -> None:
    yolo(tmp_path, "train", "x")
    write(tmp_path / "data.yaml", f"train: images/train\n{key}: images/x\nnames: [dog]\n")
    assert list_splits(tmp_path) == ("train", key)
    assert len(open_dataset(tmp_path, key).annotations().labels) == 1


def test_other_keys_of_a_data_yaml_are_named(tmp_path: Path) -> None:
    yolo(tmp_path, "train")
    text = "train: images/train\nextra: images/gone\naugment: true\nroboflow: {license: MIT}\nnames: [dog]\n"
    write(tmp_path / "data.yaml", text)
    told = guesses(open_dataset(tmp_path))
    assert len(told) == 2
    assert "'extra'" in told[0]
    assert "'augment'" in told[1]


def test_a_choice_of_classes_is_rejected_where_it_would_not_be_read(tmp_path: Path) -> None:
    yolo(tmp_path, "train")
    path = write(tmp_path / "data.yaml", "train: images/train\nnames: [dog, cat]\nclasses: [cat]\n")
    with pytest.raises(DataError, match=r"classes .*`splits:`"):
        open_dataset(path)


@pytest.mark.parametrize("name", ["Queen ", " Queen"])
def test_a_name_with_a_space_at_its_end_is_told(tmp_path: Path, name: str) -> None:
    yolo(tmp_path, "train")
    write(tmp_path / "data.yaml", f"train: images/train\nnames: ['{name}']\n")
    (problem,) = check(tmp_path)
    assert repr(name) in problem.message


def test_a_split_that_is_not_there_is_no_defect(tmp_path: Path) -> None:
    yolo(tmp_path, "train")
    write(tmp_path / "data.yaml", "train: images/train\nnames: [dog]\n")
    with pytest.raises(DataError, match='unknown split "vall"'):
        check(tmp_path, "vall")


def test_nc_alone_names_the_classes_by_number_and_must_fit_the_names(tmp_path: Path) -> None:
    yolo(tmp_path, "train")
    path = write(tmp_path / "data.yaml", "train: images/train\nnc: 2\n")
    data = open_dataset(path)
    assert data.classes == ("class_0", "class_1")
    assert "names" in guesses(data)[0]
    write(path, "train: images/train\nnc: 3\nnames: [dog, cat]\n")
    with pytest.raises(DataError, match="nc is 3, but names has 2"):
        open_dataset(path)


def test_a_data_yaml_with_names_alone_describes_the_folder(tmp_path: Path) -> None:
    write(yolo(tmp_path, "train", "valid") / "data.yaml", "names: [dog]\n")
    assert list_splits(tmp_path) == ("train", "valid")


def test_numbers_of_yolo_classes_are_never_shifted(tmp_path: Path) -> None:
    yolo(tmp_path, "train")
    write(tmp_path / "classes.txt", "dog\n\ncat\n")
    with pytest.raises(DataError, match=r"classes\.txt:2: an empty line"):
        open_dataset(tmp_path)
    write(tmp_path / "classes.txt", "dog\ncat\n\n")
    assert open_dataset(tmp_path).classes == ("dog", "cat")
    write(tmp_path / "labels" / "classes.txt", "cat\ndog\n")
    with pytest.raises(DataError, match="name different classes"):
        open_dataset(tmp_path)
    (tmp_path / "labels" / "classes.txt").unlink()
    write(tmp_path / "data.yaml", "format: yolo\nclasses: [cat, dog]\n")  # a choice and an order, not the numbers
    data = open_dataset(tmp_path)
    assert data.classes[int(data.annotations().labels[0])] == "dog"


def test_a_loose_image_does_not_join_the_splits(tmp_path: Path) -> None:
    write(yolo(tmp_path, "train", "val") / "classes.txt", "dog\n")
    write_image(tmp_path / "images" / "logo.png")
    assert list_splits(tmp_path) == ("train", "val")
    assert "1 images" in guesses(open_dataset(tmp_path, "train"))[0]


def test_yolo_splits_with_images_and_labels_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_image(tmp_path / split / "images" / "a.png")
        write(tmp_path / split / "labels" / "a.txt", "0 0.5 0.5 0.2 0.2\n")
    write(tmp_path / "classes.txt", "dog\n")
    assert list_splits(tmp_path) == ("train", "valid")
    assert len(open_dataset(tmp_path, "valid").annotations().labels) == 1


def test_labels_beside_the_images_of_a_folder_below_images(tmp_path: Path) -> None:
    root = tmp_path / "images" / "cells"
    write_image(root / "a.png")
    write(root / "a.txt", "0 0.5 0.5 0.2 0.2\n")
    write(root / "data.yaml", "path: .\ntrain: .\nnames: [dog]\n")
    assert len(open_dataset(root).annotations().labels) == 1


def test_the_format_that_is_named_is_the_one_that_is_read(tmp_path: Path) -> None:
    voc(tmp_path, "a", lists={"ImageSets/Main/train.txt": "a\n"})
    coco(tmp_path / "annotations.json", "JPEGImages/a.png", "gone.png")
    assert "VOC" in guesses(open_dataset(tmp_path))[-1]
    write(tmp_path / "data.yaml", "format: voc\n")
    assert stems(tmp_path, "train") == ["a"]


def named_xml(root: Path, stem: str, filename: str) -> None:
    text = (root / "Annotations" / f"{stem}.xml").read_text()
    write(root / "Annotations" / f"{stem}.xml", text.replace("<size>", f"<filename>{filename}</filename><size>"))


def test_of_several_images_with_one_stem_the_named_one_is_read(tmp_path: Path) -> None:
    voc(tmp_path, "a", "b", suffix=".jpg")
    write_image(tmp_path / "JPEGImages" / "a.png")
    named_xml(tmp_path, "a", "a.png")
    assert [Path(path).name for path in open_dataset(tmp_path).paths] == ["a.png", "b.jpg"]


def test_of_several_images_with_one_stem_the_only_one_of_that_size_is_read_and_told(tmp_path: Path) -> None:
    voc(tmp_path, "a", "b", suffix=".jpg")
    write_image(tmp_path / "JPEGImages" / "a.png", 30)
    data = open_dataset(tmp_path)
    assert [Path(path).name for path in data.paths] == ["a.jpg", "b.jpg"]
    assert [problem.code for problem in data.problems] == ["several-images"]
    write_image(tmp_path / "JPEGImages" / "a.png", 20)  # now nothing decides
    assert [Path(path).name for path in open_dataset(tmp_path).paths] == ["b.jpg"]


def test_a_filename_of_another_image_that_is_there_is_told(tmp_path: Path) -> None:
    voc(tmp_path, "a", "b")
    named_xml(tmp_path, "a", "b.png")
    data = open_dataset(tmp_path)
    assert [Path(path).name for path in data.paths] == ["a.png", "b.png"]
    assert [problem.code for problem in data.problems] == ["filename-differs"]


def test_xml_of_one_stem_in_several_folders_are_all_read(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        voc(tmp_path / folder, "a")
        (tmp_path / "Annotations" / folder).mkdir(parents=True)
        (tmp_path / folder / "Annotations" / "a.xml").rename(tmp_path / "Annotations" / folder / "a.xml")
        write_image(tmp_path / "JPEGImages" / folder / "a.png")
    write(tmp_path / "data.yaml", "format: voc\nsplits: {train: {annotations: Annotations, images: JPEGImages}}\n")
    assert [Path(path).parent.name for path in open_dataset(tmp_path).paths] == ["one", "two"]


@pytest.mark.parametrize("target", ["voc", "yolo", "coco"])
def test_what_convert_writes_is_read_with_the_same_splits(tmp_path: Path, target: str) -> None:
    lists = {"ImageSets/Main/training.txt": "red cell 1\n", "ImageSets/Main/holdout.txt": "b\nred cell 2\n"}
    voc(tmp_path / "in", "red cell 1", "red cell 2", "b", lists=lists)
    splits = {name: open_dataset(tmp_path / "in", name) for name in list_splits(tmp_path / "in")}
    write_datasets(dict(splits), tmp_path / "out", target_of(target))
    for name, data in splits.items():
        assert stems(tmp_path / "out", name) == sorted(Path(path).stem for path in data.paths)


@pytest.mark.parametrize(
    ("names", "near"),
    [
        ("dog|Dog", True),
        ("traffic light|traffic_light", True),
        ("sofa|couch", True),
        ("dog|dogs", False),
        ("queen|qeen", True),
        ("class1|class2", False),
        ("cat|bat", False),
    ],
)
def test_near_equal_class_names_are_reported(tmp_path: Path, names: str, near: bool) -> None:
    yolo(tmp_path, "train")
    write(tmp_path / "classes.txt", names.replace("|", "\n"))
    assert [problem.code for problem in check(tmp_path)] == ["near-equal-names"] * near


@pytest.mark.parametrize("folder", [True, False])
def test_images_without_any_label_are_told_in_one_line(tmp_path: Path, folder: bool) -> None:
    for split, count in (("train", 4), ("val", 3)):
        for number in range(count):
            write_image(tmp_path / "images" / split / f"{split}{number}.png")
        if folder:
            (tmp_path / "labels" / split).mkdir(parents=True)
    write(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames: [dog]\n")
    told = [problem for problem in check(tmp_path) if problem.code == "no-annotation"]
    assert len(told) == 1
    assert "all 7 images" in told[0].message
    assert "train0.txt" in told[0].message
    assert ("no folder" in told[0].message) is not folder
    write(tmp_path / "labels" / "val" / "val0.txt", "0 0.5 0.5 0.2 0.2\n")
    told = [problem for problem in check(tmp_path) if problem.code == "no-annotation"]
    assert [problem.path[-10:] for problem in told] == ["train0.png", "l/val1.png", "l/val2.png"]
