"""Result files of others: what is understood, what is asked back, and the official samples."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detzoo.cli import main
from detzoo.comparison.evaluate_one import evaluate_file
from detzoo.errors import DataError
from detzoo.evaluation.result_file import read_categories, read_detections, read_results

OFFICIAL = {
    "bbox": "0.5046 0.6970 0.5730 0.5856 0.5194 0.5014 0.3868 0.5937 0.5954 0.6398 0.5664 0.5643",
    "segm": "0.3195 0.5623 0.2989 0.3874 0.3102 0.3269 0.2682 0.4154 0.4168 0.4694 0.3768 0.3815",
}
TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
TRUTH: dict[str, Any] = {
    "images": [
        {"id": 17, "file_name": "val/000042.jpg", "height": 100, "width": 200},
        {"id": 18, "file_name": "val/other.jpg", "height": 100, "width": 200},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "aeroplane"}],
    "annotations": [],
}


def row(image: Any = 17, category: Any = 3, bbox: Any = (10, 10, 20, 20), **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox), "score": 0.5, **more}


def read(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    path = tmp_path / "found.json"
    path.write_text(json.dumps(rows))
    found = read_results(path, TRUTH, **options)
    return found.rows, found.warnings


def refusal(tmp_path: Path, *rows: dict[str, Any], **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, *rows, **options)
    return str(caught.value).removeprefix(f"{tmp_path / 'found.json'}: ")


def test_no_rows_are_a_normal_case(tmp_path: Path) -> None:
    assert read(tmp_path) == ([], [])
    assert read(tmp_path, boxes="xyxy", categories={0: "cat", 1: "aeroplane"}) == ([], [])


def test_a_packed_file_is_read_like_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "found.json.gz"
    path.write_bytes(gzip.compress(json.dumps([row()]).encode()))
    assert read_results(path, TRUTH).rows == [row()]


@pytest.mark.parametrize(
    "content", [b"", b"[]", gzip.compress(b"[" * 200, mtime=0)[:20]], ids=["empty", "plain", "cut"]
)
def test_a_damaged_packed_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "found.json.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"found\.json\.gz cannot be read as JSON"):
        read_results(path, TRUTH)


def test_a_packed_file_that_would_fill_the_memory_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detzoo.evaluation.result_file.MOST_BYTES", 1 << 20)
    path = tmp_path / "found.json.gz"
    path.write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        read_results(path, TRUTH)


def test_rows_that_fit_are_left_as_they_are(tmp_path: Path) -> None:
    rows = [row(), row(18, 7, (0, 0, 201, 101))]
    assert read(tmp_path, *rows) == (rows, [])


@pytest.mark.parametrize(
    ("ids", "how"),
    [
        (("17", "18"), "their text"),
        (("000042.jpg", "other.jpg"), "file name"),
        (("000042", "other"), "file name without its ending"),
        ((42, "other"), "the number in the file name"),
    ],
)
def test_other_names_of_images(ids: tuple[Any, Any], how: str, tmp_path: Path) -> None:
    rows, warnings = read(tmp_path, *(row(i) for i in ids))
    assert [r["image_id"] for r in rows] == [17, 18]
    assert warnings == [f"found.json: image ids were matched by {how}"]


def numbered(first: int, count: int = 8) -> dict[str, Any]:
    """Images whose running ids 1, 2, ... are the numbers in the names of other images; one object in each."""
    ids = range(1, count + 1)
    return {
        "images": [{"id": n, "file_name": f"cell{first + n:05d}.jpg", "height": 100, "width": 400} for n in ids],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1 + n % 2, "bbox": [n * 50 % 350, 10, 30 + n % 5, 40]} for n in ids
        ],
    }


def answers(truth: dict[str, Any], name: str, *, shift: int = 0) -> list[dict[str, Any]]:
    """A perfect row for each of the images that both readings know."""
    of: Callable[[dict[str, Any]], Any] = {
        "own": lambda image: image["id"],
        "number": lambda image: int(image["file_name"][4:9]),
        "stem": lambda image: image["file_name"][:-4],
    }[name]
    images = {image["id"]: image for image in truth["images"]}
    rows = [row(of(images[one["image_id"]]), one["category_id"] + shift, one["bbox"]) for one in truth["annotations"]]
    known = {of(image) for image in truth["images"]} & (set(images) | {of(image) for image in truth["images"]})
    both = {n for n in known if not isinstance(n, int) or n in images}
    return [one for one in rows if one["image_id"] in both]


@pytest.mark.parametrize("first", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["own", "number", "stem"])
def test_numbers_that_can_be_ids_and_file_names_are_held_against_the_objects(
    tmp_path: Path, first: int, name: str
) -> None:
    truth = numbered(first, 24)
    rows = answers(truth, name)
    path = tmp_path / "found.json"
    path.write_text(json.dumps(rows))
    found = read_results(path, truth)
    boxes = {one["image_id"]: one["bbox"] for one in truth["annotations"]}
    assert all(boxes[one["image_id"]] == one["bbox"] for one in found.rows)
    assert len(found.warnings) == (name == "stem" or (name == "number" and first > 0))


def test_ids_that_remain_unclear_are_asked_for(tmp_path: Path) -> None:
    truth = numbered(1)
    path = tmp_path / "found.json"
    path.write_text(json.dumps(answers(truth, "number")[:2]))  # too few to decide
    with pytest.raises(DataError, match="--image-ids own, number"):
        read_results(path, truth)
    assert [one["image_id"] for one in read_results(path, truth, image_ids="number").rows] == [1, 2]
    assert [one["image_id"] for one in read_results(path, truth, image_ids="own").rows] == [2, 3]
    with pytest.raises(DataError, match="by --image-ids stem"):
        read_results(path, truth, image_ids="stem")


@pytest.mark.parametrize("shift", [0, 1])
def test_category_ids_that_are_shifted_are_asked_for(tmp_path: Path, shift: int) -> None:
    truth = numbered(0, 24)
    path = tmp_path / "found.json"
    path.write_text(json.dumps(answers(truth, "own", shift=shift)))
    if shift:
        with pytest.raises(DataError, match=r"1 too large.*--categories"):
            read_results(path, truth)
    else:
        assert read_results(path, truth).warnings == []


def test_images_that_the_data_set_does_not_have(tmp_path: Path) -> None:
    assert refusal(tmp_path, row(), row(5), row(5), row(6)) == (
        "3 of 4 rows name 2 image ids that the dataset does not have (5, 6); it has 2: 17, 18. "
        "Is this the right dataset and --split?"
    )
    assert refusal(tmp_path, row(1.5)) == (
        "row 1 has the image_id 1.5, neither a whole number nor a text; a COCO result file is a list of objects with "
        "image_id, category_id, bbox and score"
    )


def test_categories_that_the_data_set_does_not_have(tmp_path: Path) -> None:
    what = "it has 3 cat, 7 aeroplane."
    then = (
        "name the file's own classes with --categories (a,b,c counted from 0, or a file), and they are matched by name"
    )
    assert refusal(tmp_path, row(), row(category=90)) == (
        f"1 of 2 rows have a category_id that the dataset does not have (90); {what} {then}"
    )
    assert refusal(tmp_path, row(category=0), row(category=1)) == (
        "2 of 2 rows have a category_id that the dataset does not have (0, 1); "
        f"{what} They look like labels counted from 0; {then}"
    )
    assert refusal(tmp_path, row(category=1), row(category=2)) == (
        "2 of 2 rows have a category_id that the dataset does not have (1, 2); "
        f"{what} They look like classes counted from 1; {then}"
    )


def test_named_categories_are_matched_by_name(tmp_path: Path) -> None:
    rows, warnings = read(
        tmp_path, row(category=0), row(category=1), row(category=2), categories={0: "airplane", 1: "cat", 2: "dog"}
    )
    assert [r["category_id"] for r in rows] == [7, 3]
    assert "1 of the model's 3 classes are not in the dataset; their detections are left out (dog)" in warnings
    assert any("'airplane' for 'aeroplane'" in warning for warning in warnings)
    assert refusal(tmp_path, row(category=4), categories={0: "airplane", 1: "cat"}) == (
        "1 rows have a category_id without a name in --categories (4); it names 0 airplane, 1 cat"
    )
    assert refusal(tmp_path, row(), categories={3: "cats", 7: "airplane"}).startswith(
        "the model's class names differ from the dataset's: it has no output for cat (near: cats)."
    )


def test_ways_of_naming_categories(tmp_path: Path) -> None:
    wanted = {0: "cat", 1: "dining table"}
    assert read_categories("cat, dining table") == wanted
    for name, text in {
        "names.txt": "cat\ndining table\n",
        "list.json": '["cat", "dining table"]',
        "ids.json": '{"0": "cat", "1": "dining table"}',
        "coco.json": '{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dining table"}]}',
    }.items():
        (tmp_path / name).write_text(text)
        assert read_categories(str(tmp_path / name)) == wanted
    (tmp_path / "wrong.json").write_text("[1, 2]")
    with pytest.raises(DataError) as caught:
        read_categories(str(tmp_path / "wrong.json"))
    assert str(caught.value) == (
        f"--categories {tmp_path / 'wrong.json'}: expected a list of names, an object of id -> name, or COCO's "
        "categories"
    )
    with pytest.raises(DataError) as caught:
        read_categories("gone.txt")
    assert str(caught.value) == "--categories gone.txt: no such file"


def test_boxes_that_look_like_corners_are_asked_about(tmp_path: Path) -> None:
    rows = [row(bbox=(100, 20, 150, 90)), row(bbox=(10, 10, 20, 30))]
    assert refusal(tmp_path, *rows) == (
        "the boxes look like [x1, y1, x2, y2]: taken as [x, y, width, height], 1 of 2 reach beyond their images "
        "(the first: [100, 20, 150, 90]); say which with --boxes xyxy or --boxes xywh"
    )
    assert [r["bbox"] for r in read(tmp_path, *rows, boxes="xyxy")[0]] == [[100, 20, 50, 70], [10, 10, 10, 20]]
    assert [r["bbox"] for r in read(tmp_path, *rows, boxes="xywh")[0]] == [[100, 20, 150, 90], [10, 10, 20, 30]]
    assert refusal(tmp_path, row(bbox=(50, 10, 20, 30)), boxes="xyxy") == (
        "the bbox [50, 10, 20, 30] has its corners the wrong way round for --boxes xyxy"
    )
    assert str(refusal(tmp_path, row(), boxes="cxcywh")) == "--boxes cxcywh: allowed are xywh and xyxy"


def test_corners_are_understood_before_ids_are_held_against_the_boxes(tmp_path: Path) -> None:
    truth = numbered(0, 24)
    path = tmp_path / "found.json"
    rows = answers(truth, "own", shift=1)
    for one in rows:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"1 too large.*--categories"):
        read_results(path, truth, boxes="xyxy")


def test_boxes_beyond_their_images_are_counted_and_said(tmp_path: Path) -> None:
    _, warnings = read(tmp_path, row(bbox=(150, 10, 100, 20)), row())
    assert warnings == [
        "found.json: of the boxes 1 of 2 reach beyond their images (the first: [150, 10, 100, 20]); is this the "
        "right dataset, and are they px of the original images?"
    ]
    assert read(tmp_path, row(bbox=(150, 10, 100, 20)), *[row()] * 9)[1] == []  # one in ten: no doubt about the others


def test_shares_of_the_image_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, *[row(bbox=(0.1, 0.2, 0.5, 0.75))] * 5) == (
        "the boxes look like shares of the image (the largest of all numbers is 0.75); COCO's are "
        "[x, y, width, height] in px; --boxes xywh takes them as they are"
    )


def test_masks_of_every_kind(tmp_path: Path) -> None:
    # A rectangle of columns 20..29 and rows 10..49: 10 runs of 40 px
    runs = [20 * 100 + 10] + [40, 60] * 9 + [40]
    runs.append(100 * 200 - sum(runs))
    counted = {"size": [100, 200], "counts": runs}
    polygon = [[20, 10, 30, 10, 30, 50, 20, 50]]
    bare = {"image_id": 17, "category_id": 3, "score": 0.5}
    rows, warnings = read(tmp_path, bare | {"segmentation": counted}, row(segmentation=polygon))
    assert warnings == ["found.json: 1 rows have no bbox; the box around the mask is taken"]
    assert rows[0]["bbox"] == [20, 10, 10, 40]
    assert rows[1]["bbox"] == [10, 10, 20, 20]
    assert rows[0]["segmentation"] == rows[1]["segmentation"]
    assert read(tmp_path, *rows)[0] == rows
    corners = [bare | {"segmentation": counted}, row(bbox=(10, 10, 30, 30), segmentation=polygon)]
    assert read(tmp_path, *corners, boxes="xyxy")[0] == rows


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    swapped = refusal(tmp_path, row(segmentation={"size": [200, 100], "counts": "0"}))
    assert (
        "mask of image 17: the mask is 100 x 200 px, its image 200 x 100 px (height and width are swapped)" in swapped
    )
    assert refusal(tmp_path, row(segmentation="round")).endswith("allowed: COCO's run lengths, or polygons")
    assert "must be text" in refusal(tmp_path, row(segmentation={"size": [100, 200]}))
    for counts in ("5", "cut`", "é", [10**9], [10**18], [-1, 20001], [1.5], [True], 7, ""):
        assert "mask of image 17" in refusal(tmp_path, row(segmentation={"size": [100, 200], "counts": counts}))
    for size in ([10**9, 10**9], [100], "100x200", None, [0, 0], [1e400, 1]):
        assert "mask of image 17" in refusal(tmp_path, row(segmentation={"size": size, "counts": [20000]}))


def test_a_far_point_of_a_polygon_is_clipped(tmp_path: Path) -> None:
    far = [[10, 10, 1e9, 10, 1e9, 60, 10, 60]]
    near = [[10, 10, 200, 10, 200, 60, 10, 60]]
    rows, _ = read(tmp_path, row(segmentation=far), row(segmentation=near))
    assert rows[0]["segmentation"] == rows[1]["segmentation"]


@pytest.mark.parametrize(("category", "image"), [("3", 17.0), (3.0, "17"), (3, 17)])
def test_ids_that_can_only_mean_one_number(tmp_path: Path, category: Any, image: Any) -> None:
    rows, _ = read(tmp_path, row(image, category=category))
    assert [(found["image_id"], found["category_id"]) for found in rows] == [(17, 3)]


@pytest.mark.parametrize("value", [[3], {}, None, True, 1.5, 2**64, "x"])
def test_categories_that_are_no_ids(tmp_path: Path, value: Any) -> None:
    assert "has the category_id" in refusal(tmp_path, row(category=value))


def test_numbers_that_no_box_has(tmp_path: Path) -> None:
    for box in ([1, 2, 10**400, 3], [1, 2, 1e300, 3], [1, 2, "3", 4], [1, 2, [3], 4]):
        assert "has the bbox" in refusal(tmp_path, row(bbox=box))


def test_files_that_are_no_ordinary_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="FIFO"):
        read_detections(tmp_path / "pipe.json")
    (tmp_path / "marked.json").write_bytes("[]".encode("utf-16"))
    assert read_detections(tmp_path / "marked.json") == []
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_detections(tmp_path / "deep.json")
    (tmp_path / "long.json").write_text("9" * 5000)
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_detections(tmp_path / "long.json")


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("engine", ["pycocotools", "faster"])
def test_official_samples(kind: str, engine: str, shared: Path) -> None:
    if engine == "faster":
        pytest.importorskip("faster_coco_eval")
    folder = shared / "data" / "oracle-coco-official"
    path = folder / f"instances_val2014_fake{kind}100_results.json"
    evaluation = evaluate_file(path, None, str(folder / "instances_val2014_100.json"), None, engine=engine)
    mask = "mask_" if kind == "segm" else ""
    assert [f"{evaluation.metrics[mask + name]:.4f}" for name in TWELVE] == OFFICIAL[kind].split()
    assert ("mask_AP" in evaluation.metrics) == (kind == "segm")


def test_the_command_writes_its_files(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared / "data" / "oracle-coco-official"
    rows = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    ids = {c["id"]: c["name"] for c in json.loads((folder / "instances_val2014_100.json").read_text())["categories"]}
    order = {category: label for label, category in enumerate(sorted(ids))}
    moved = []
    for one in rows:
        x, y, w, h = one["bbox"]
        moved.append({**one, "category_id": order[one["category_id"]], "bbox": [x, y, x + w, y + h]})
    (tmp_path / "mine.json").write_text(json.dumps(moved))
    (tmp_path / "names.txt").write_text("\n".join(ids[i] for i in sorted(ids)))
    command = ["detzoo", "eval", "--from", str(tmp_path / "mine.json"), "--no-curves"]
    command += ["--data", str(folder / "instances_val2014_100.json"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as left:
        main()
    asked = capsys.readouterr()
    assert (left.value.code, asked.out) == (2, "")
    assert asked.err.startswith("error: ")
    assert "They look like labels counted from 0; name the file's own classes with --categories" in asked.err
    command += ["--categories", str(tmp_path / "names.txt"), "--boxes", "xyxy"]
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [f"{results['metrics'][name]:.4f}" for name in TWELVE] == OFFICIAL["bbox"].split()
    written = json.loads((tmp_path / "out" / "detections.json").read_text())
    np.testing.assert_allclose([r["bbox"] for r in written], [r["bbox"] for r in rows], atol=1e-9)
    assert [r["category_id"] for r in written] == [r["category_id"] for r in rows]
