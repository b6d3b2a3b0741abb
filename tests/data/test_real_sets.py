"""All readers on real sets: the numbers that their READMEs state, and the defects that they list."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from detzoo.data import list_splits, open_dataset
from detzoo.data.checking.check import check


def counts(spec: Path, split: str) -> tuple[int, int]:
    data = open_dataset(spec, split, quiet=True)
    return len(data), len(data.annotations().labels)


def found(spec: Path) -> Counter[tuple[str, str]]:
    return Counter((problem.severity, problem.code) for problem in check(spec))


def test_bccd(shared: Path) -> None:
    root = shared / "data" / "bccd"
    assert list_splits(root) == ("test", "train", "trainval", "val")
    sizes = {split: counts(root, split) for split in list_splits(root)}
    assert {split: images for split, (images, _) in sizes.items()} == {
        "train": 205, "val": 87, "trainval": 292, "test": 72,
    }  # fmt: skip
    # 4888 boxes, two of which are of zero size
    assert sizes["trainval"][1] + sizes["test"][1] == 4888 - 2
    data = open_dataset(root, "train+val+test", quiet=True)
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert np.bincount(data.annotations().labels).tolist() == [361, 4155 - 2, 372]
    annotations, images = root / "BCCD" / "Annotations", root / "BCCD" / "JPEGImages"
    assert sorted(str(problem) for problem in check(root)) == [
        f"{annotations}/BloodImage_00338.xml:158: error: zero-box: RBC: box 504 337 504 337; left out",
        f"{annotations}/BloodImage_00343.xml:50: error: zero-box: RBC: box 181 329 181 329; left out",
        # one view of the microscope, in focus and out of focus, once to learn from and once to validate on
        f"{images}/BloodImage_00037.jpg: warning: near-duplicate: leak: nearly the same image stands in train, as "
        f"{images}/BloodImage_00038.jpg, and in val",
    ]


def test_playing_cards(shared: Path) -> None:
    root = shared / "data" / "playing-cards"
    assert counts(root, "train") == (296, 527)
    assert counts(root, "test") == (67, 143)
    data = open_dataset(root, "train")
    by_class = dict(zip(data.classes, np.bincount(data.annotations().labels).tolist(), strict=True))
    assert by_class == {"nine": 89, "ten": 82, "jack": 89, "queen": 80, "king": 95, "ace": 92}


@pytest.mark.slow
def test_the_only_defect_of_playing_cards(shared: Path) -> None:
    root = shared / "data" / "playing-cards"
    (twice,) = check(root)  # the camera moved by a pixel between the two
    assert (twice.code, Path(twice.path).name) == ("near-duplicate", "cam_image54.jpg")
    assert "cam_image1.jpg" in twice.message


def test_boxes_equal_the_csv_minus_one_at_the_left_and_top(shared: Path) -> None:
    images = shared / "data" / "playing-cards" / "images"
    data = open_dataset(images, "test")
    rows = [line.split(",") for line in (images / "test_labels.csv").read_text().splitlines()[1:]]
    expected = {(row[0], int(row[4]) - 1, int(row[5]) - 1, int(row[6]), int(row[7])) for row in rows}
    index = data.annotations()
    read = {
        (Path(index.path(position)).name, *(int(value) for value in box))
        for position in range(len(index))
        for box in index.boxes[index.rows(position)]
    }
    assert read == expected


def test_coco128_yolo(shared: Path) -> None:
    root = shared.resolve() / "data" / "coco128" / "object_detection"  # a label file finds its images behind links
    assert counts(root, "train") == (128, 929)
    assert counts(root, "val") == (128, 898)
    data = open_dataset(root, "train", quiet=True)
    assert len(set(data.annotations().labels.tolist())) == 71
    assert (data.classes[0], data.category_ids[:3]) == ("person", (0, 1, 2))


@pytest.mark.slow
def test_the_defects_of_coco128(shared: Path) -> None:
    root = shared.resolve() / "data" / "coco128" / "object_detection"
    labels, images = root / "labels" / "train2017", root.parent / "images" / "train2017"
    assert [str(problem) for problem in check(root) if problem.severity != "info"] == [
        *(
            f"{images}/{name}.jpg: warning: no-annotation: no label file {labels}/{name}.txt; "
            "taken for an image without objects"
            for name in ("000000000250", "000000000508")
        ),
        f"{labels}/000000000656.txt: error: missing-image: no image called 000000000656; 3 boxes left out",
        f"{labels}/000000000659.txt: error: missing-image: no image called 000000000659; 9 boxes left out",
    ]
    assert found(root)["info", "grey-image"] == 2


def test_coco128_polygons_and_derived_masks(shared: Path) -> None:
    root = shared / "data" / "coco128"
    assert counts(root / "instance_segmentation", "train") == (100, 746)
    assert counts(root / "instance_segmentation", "val") == (100, 712)
    data = open_dataset(root / "derived" / "instances_from_panoptic_val2017.json")
    assert (len(data), len(data.annotations().labels)) == (100, 712)
    sample = data.sample(0)
    assert sample.masks is not None
    areas = data.annotations().areas[data.annotations().rows(0)]
    assert sample.masks.sum(axis=(1, 2)).tolist() == areas.tolist()  # against the panoptic JSON


def test_coco_tiny(shared: Path) -> None:
    root = shared / "data" / "coco-tiny"
    assert counts(root, "train") == (32, 288)
    assert counts(root, "val") == (6, 136)
    train = open_dataset(root, "train")
    assert int(train.annotations().crowd.sum()) == 4
    assert train.category_ids[-1] == 90
    assert len(train.classes) == 80
    assert found(root) == {("info", "no-objects"): 2, ("info", "category-gaps"): 2}


def test_coco_ground_truth_is_the_files_own(shared: Path) -> None:
    from pycocotools import mask as coco_mask

    path = shared / "data" / "coco-tiny" / "annotations" / "instances_val2017.json"
    original = json.loads(path.read_text())
    truth = open_dataset(path).coco_ground_truth()
    position = {entry["id"]: row for row, entry in enumerate(original["images"])}
    expected = sorted(original["annotations"], key=lambda entry: position[entry["image_id"]])
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in original["images"]}
    assert len(truth["annotations"]) == len(expected) == 136
    for ours, theirs in zip(truth["annotations"], expected, strict=True):
        for key in ("image_id", "category_id", "area", "iscrowd"):
            assert ours[key] == theirs[key]
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=1e-9)
        height, width = sizes[theirs["image_id"]]
        rle = coco_mask.frPyObjects(theirs["segmentation"], height, width)
        rle = coco_mask.merge(rle) if isinstance(rle, list) else rle
        assert ours["segmentation"]["counts"] == rle["counts"].decode()


def test_nuclei(shared: Path) -> None:
    root = shared / "data" / "nuclei"
    data = open_dataset(root, "val")
    assert (len(data), len(data.annotations().labels), data.has_masks) == (30, 780, True)
    assert data.annotations().areas.min() >= 21
    sample = data.sample(0)
    assert sample.masks is not None
    for box, mask in zip(sample.boxes, sample.masks, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.slow
def test_nuclei_defects(shared: Path) -> None:
    assert counts(shared / "data" / "nuclei", "train") == (100, 2365)
    assert found(shared / "data" / "nuclei") == {
        ("info", "alpha-image"): 130,
        ("warning", "overlapping-masks"): 1,
        ("warning", "thin-mask"): 1,
    }


def test_voc_mini(shared: Path) -> None:
    root = shared / "data" / "voc-mini"
    data = open_dataset(root / "voc")
    assert (len(data), len(data.annotations().labels)) == (2, 3)
    # 130 45.70000076293945 375 470: 1-based, and not in whole pixels
    np.testing.assert_allclose(data.sample(1).boxes[0], [129, 44.7, 375, 470], atol=1e-5)
    assert [str(problem) for problem in check(root)] == [
        f"{root}/voc/Annotations/2011_003353.xml:4: info: float-coordinate: "
        "person: box 130 45.7 375 470 is not in whole pixels"
    ]
    fridge = open_dataset(root / "odFridgeObjects")
    by_class = dict(zip(fridge.classes, np.bincount(fridge.annotations().labels).tolist(), strict=True))
    assert by_class == {"carton": 5, "can": 3, "milk_bottle": 2, "water_bottle": 2}


def test_the_official_coco_ground_truth_opens_without_its_images(shared: Path) -> None:
    data = open_dataset(shared / "data" / "oracle-coco-official" / "instances_val2014_100.json")
    truth = data.coco_ground_truth()
    assert (len(truth["images"]), len(truth["annotations"])) == (100, 839)
    assert sum(entry["iscrowd"] for entry in truth["annotations"]) == 9
