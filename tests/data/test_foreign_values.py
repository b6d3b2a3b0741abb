"""Values that somebody else wrote: one strict converter, the same for JSON and xml; never truthiness."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detzoo.data import open_dataset
from detzoo.data.checking.check import check
from detzoo.data.checking.problems import DataProblem
from detzoo.data.formats.values import as_flag, as_id, as_number, as_pixels, as_side, shown
from detzoo.errors import DataError

YES = (True, 1, 1.0, "1", "1.0", "true", "True", "TRUE", " yes ", "YES")
NO = (False, 0, 0.0, -0.0, "0", "0.0", "false", "FALSE", "No", "", " ", None, "Unspecified", "null")
NEITHER: tuple[Any, ...] = (2, -1, 0.5, "2", "maybe", [0], [], {}, [1], "0,0", float("nan"), "nan", 10**400, "ja")


@pytest.mark.parametrize("value", YES)
def test_flags_that_are_set(value: Any) -> None:
    assert as_flag(value) is True


@pytest.mark.parametrize("value", NO)
def test_flags_that_are_not_set(value: Any) -> None:
    assert as_flag(value) is False


@pytest.mark.parametrize("value", NEITHER, ids=shown)
def test_what_is_no_flag(value: Any) -> None:
    assert as_flag(value) is None


@pytest.mark.parametrize(("value", "number"), [(3, 3.0), (-0.5, -0.5), ("1e3", 1000.0), (" .5 ", 0.5), ("+7.", 7.0)])
def test_numbers(value: Any, number: float) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize(
    "value",
    [None, True, "", "nan", "inf", "1e999", "1_000", "0x10", "1,5", "١", "9" * 5000, 10**400, float("inf"), [1], {}],
    ids=shown,
)
def test_what_is_no_number(value: Any) -> None:
    assert as_number(value) is None
    assert as_side(value) == 0


@pytest.mark.parametrize(
    ("value", "side"), [(640, 640), ("480", 480), (64.0, 64), (64.5, 0), ("0.5", 0), (-3, 0), (0, 0)]
)
def test_sides_are_whole_pixels(value: Any, side: int) -> None:
    assert as_side(value) == side


@pytest.mark.parametrize(
    ("value", "own"),
    [(2, 2), (2.0, 2), ("2", 2), (" 2 ", 2), ("-3", -3), ("007", "007"), ("img", "img"), (2**70, 2**70)],
)
def test_ids(value: Any, own: int | str) -> None:
    assert as_id(value) == own
    assert type(as_id(value)) is type(own)


@pytest.mark.parametrize("value", [None, True, 1.5, float("nan"), float("inf"), "", " ", [1], {"id": 1}])
def test_what_is_no_id(value: Any) -> None:
    assert as_id(value) is None


@pytest.mark.parametrize("values", [None, 7, "1234", [1, 2, 3], [1, 2, 3, 1e10], [1, 2, 3, "x"], [1, 2, 3, True]])
def test_what_is_no_box(values: Any) -> None:
    assert as_pixels(values) is None
    assert as_pixels([1, "2", 3.5, 4]) == (1, 2, 3.5, 4)


def test_values_are_shown_in_one_line_however_large() -> None:
    assert shown("2") == "'2'"
    assert shown(10**5000) == "a whole number of about 5001 digits"
    assert len(shown([10**5000])) < 60
    assert len(shown("x" * 10**6)) == 60
    assert shown("\ud800") == r"'\ud800'"


def save(path: Path, width: int = 40, height: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path)


def note(own: Any = 1, **change: Any) -> dict[str, Any]:
    return {"id": own, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0, **change}


def coco(folder: Path, *annotations: Any, **change: Any) -> Path:
    save(folder / "a.png")
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": list(annotations),
    }
    (folder / "train.json").write_text(json.dumps({**content, **change}, indent=1))
    return folder / "train.json"


def codes(spec: Path) -> list[tuple[str, str, int | None]]:
    return [(problem.severity, problem.code, problem.line) for problem in check(spec)]


@pytest.mark.parametrize("key", ["iscrowd", "ignore"])
@pytest.mark.parametrize(("value", "flag"), [("0", False), ("FALSE", False), (None, False), ("1", True), (1.0, True)])
def test_coco_flags_as_text(tmp_path: Path, key: str, value: Any, flag: bool) -> None:
    path = coco(tmp_path, note(**{key: value}))
    assert codes(path) == []
    assert open_dataset(path).coco_ground_truth()["annotations"][0][key] == flag


@pytest.mark.parametrize("value", [[0], 2, "maybe", {}, 0.5])
def test_a_coco_flag_that_is_none_is_a_defect_with_its_line(tmp_path: Path, value: Any) -> None:
    path = coco(tmp_path, note(iscrowd=value))
    assert codes(path) == [("error", "bad-flag", 17)]
    assert open_dataset(path, quiet=True).coco_ground_truth()["annotations"][0]["iscrowd"] == 0


@pytest.mark.parametrize(
    ("text", "flag", "found"),
    [("0.0", False, []), ("FALSE", False, []), ("Unspecified", False, []), ("", False, []), ("1", True, [])]
    + [(text, False, [("error", "bad-flag", 2)]) for text in ("2", "maybe", "0;")],
)
def test_voc_flags(tmp_path: Path, text: str, flag: bool, found: list[Any]) -> None:
    save(tmp_path / "a.png")
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>12</ymax></bndbox>"
    (tmp_path / "a.xml").write_text(
        "<annotation><size><width>40</width><height>30</height></size>\n"
        f"<object><name>cat</name><difficult>{text}</difficult>{box}</object></annotation>"
    )
    assert codes(tmp_path) == found
    assert open_dataset(tmp_path, quiet=True).annotations().difficult.tolist() == [flag]


@pytest.mark.parametrize("size", ["inf", "1e30", "nan", "9" * 5000, "99999"])
def test_voc_sizes_that_no_image_has(tmp_path: Path, size: str) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(
        f"<annotation><size><width>{size}</width><height>{size}</height></size><object><name>cat</name><bndbox>"
        "<xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>12</ymax></bndbox></object></annotation>"
    )
    assert codes(tmp_path) == [("warning", "xml-size", 1)]
    assert open_dataset(tmp_path, quiet=True).annotations().sizes.tolist() == [[30, 40]]


@pytest.mark.parametrize("own", ["7", 7.0, 7])
@pytest.mark.parametrize("category", ["3", 3.0, 3])
def test_coco_ids_as_text_and_as_fractions_of_one(tmp_path: Path, own: Any, category: Any) -> None:
    path = coco(tmp_path, note(image_id=own, category_id=category))
    truth = open_dataset(path).coco_ground_truth()["annotations"][0]
    assert (truth["image_id"], truth["category_id"]) == (7, 3)
    assert {code for _, code, _ in codes(path)} <= {"text-id"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"category_id": [3]}, "unknown-class"),
        ({"category_id": {"id": 3}}, "unknown-class"),
        ({"category_id": 10**400}, "unknown-class"),
        ({"category_id": None}, "unknown-class"),
        ({"category_id": True}, "unknown-class"),
        ({"image_id": [7]}, "unknown-image"),
        ({"image_id": "07"}, "unknown-image"),
        ({"image_id": 2**64}, "unknown-image"),
        ({"image_id": None}, "unknown-image"),
        ({"bbox": [1, 2, 10**400, 4]}, "bad-box"),
        ({"bbox": [1, 2, 1e300, 4]}, "bad-box"),
        ({"bbox": [[1], 2, 3, 4]}, "bad-box"),
        ({"bbox": {"x": 1}}, "bad-box"),
    ],
)
def test_damaged_values_of_an_annotation_are_named_with_their_line(
    tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    path = coco(tmp_path, note(1), note(2, bbox=[2, 2, 9, 9], **change) if "bbox" not in change else note(2, **change))
    assert codes(path) == [("error", code, 30)]
    assert len(open_dataset(path, quiet=True).annotations().labels) == 1


def test_an_area_of_hundreds_of_digits(tmp_path: Path) -> None:
    assert codes(coco(tmp_path, note(area=10**400))) == [("warning", "no-area", 17)]


def test_a_whole_number_of_5000_digits(tmp_path: Path) -> None:
    path = coco(tmp_path, note(1), note(2, bbox=[1, 2, 3, "@"]))
    path.write_text(path.read_text().replace('"@"', "9" * 5000))
    assert [(code, severity) for severity, code, _ in codes(path)] == [("bad-box", "error")]


@pytest.mark.parametrize("own", [2**64, -(2**63) - 1, "holiday/1"])
def test_image_ids_that_no_result_file_holds_are_renumbered(tmp_path: Path, own: Any) -> None:
    entry = {"id": own, "file_name": "a.png", "width": 40, "height": 30}
    path = coco(tmp_path, note(image_id=own), images=[entry])
    assert codes(path) == [("warning", "image-ids", 3)]
    assert open_dataset(path, quiet=True).image_ids == [1]


@pytest.mark.parametrize("own", [[1], None, True, 1.5, {"a": 1}])
def test_images_without_a_usable_id(tmp_path: Path, own: Any) -> None:
    good = {"id": 7, "file_name": "a.png", "width": 40, "height": 30}
    path = coco(tmp_path, note(), images=[good, {**good, "id": own}])
    assert codes(path) == [("error", "bad-image", 9)]


@pytest.mark.parametrize("side", [2**40, 1e30, "inf", 10**400, -3, [30], None])
def test_coco_sizes_that_no_image_has(tmp_path: Path, side: Any) -> None:
    path = coco(tmp_path, note(), images=[{"id": 7, "file_name": "a.png", "width": side, "height": side}])
    assert codes(path) == [("warning", "no-size", 3)]
    assert open_dataset(path, quiet=True).annotations().sizes.tolist() == [[30, 40]]


@pytest.mark.parametrize("name", ["\ud800.png", "x" * 300 + ".png", "a\0.png"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    good = {"id": 7, "file_name": "a.png", "width": 40, "height": 30}
    path = coco(tmp_path, note(), images=[good, {**good, "id": 8, "file_name": name}])
    assert [problem.severity for problem in check(path) if problem.code != "no-objects"] == ["error"]


def test_keys_that_stand_twice(tmp_path: Path) -> None:
    path = coco(tmp_path, note(1), note(2, bbox=[2, 2, 9, 9]))
    path.write_text(path.read_text().replace('"id": 2,', '"id": 2,\n "category_id": 4,'))
    assert codes(path) == [("error", "duplicate-key", 30)]
    text = path.read_text()
    path.write_text(text[: text.rindex("}")] + ', "annotations": []}')
    assert ("error", "duplicate-key", None) in codes(path)


@pytest.mark.parametrize("value", [3, "3"])
def test_the_same_box_twice_is_told_and_kept(tmp_path: Path, value: Any) -> None:
    path = coco(tmp_path, note(1), note(2, category_id=value))
    assert ("warning", "duplicate-box", 30) in codes(path)
    assert len(open_dataset(path).annotations().labels) == 2


def test_boxes_in_other_units_are_rejected(tmp_path: Path) -> None:
    shares = [note(n, bbox=[0.1 * n, 0.2, 0.3, 0.4]) for n in range(1, 7)]
    with pytest.raises(DataError, match="shares of the image"):
        open_dataset(coco(tmp_path, *shares))
    corners = [note(n, bbox=[20 + n, 15, 30 + n, 29]) for n in range(1, 7)]
    assert "corners" in check(coco(tmp_path, *corners))[0].message
    small = [note(n, bbox=[3 * n, 2, 5, 5]) for n in range(1, 7)]
    assert codes(coco(tmp_path, *small)) == []


def flaws(folder: Path, count: int) -> tuple[float, list[DataProblem]]:
    """Seconds and problems of a one-line file in which no box has an area."""
    boxes = [note(n, bbox=[n % 30 + n / count, 2, 5, 5], area=None) for n in range(count)]
    path = coco(folder, *boxes)
    path.write_text(path.read_text().replace("\n", " "))
    started = time.process_time()
    found = check(path)
    return time.process_time() - started, found


def test_lines_are_found_in_the_time_of_one_reading(tmp_path: Path) -> None:
    flaws(tmp_path, 10)
    seconds, found = flaws(tmp_path, 20_000)
    assert len(found) >= 20_000
    assert seconds < 2.0


def test_a_name_too_long_for_any_file_in_a_list_of_images_is_a_problem_line(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    (tmp_path / "train.txt").write_text(f"images/a.png\n{'x' * 400}.png\n")
    assert ("error", "bad-image", None) in codes(tmp_path / "data.yaml")
