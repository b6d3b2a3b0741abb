"""Boxes in other units, and YOLO rows of other tasks: never read as something that they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detzoo.data import Dataset, open_dataset
from detzoo.data.formats.yolo_rows import RowForm, row_form
from detzoo.errors import DataError

CENTRES = [
    (0.5875, 0.575, 0.3625, 0.4167), (0.2, 0.8, 0.17, 0.2), (0.81, 0.3, 0.15, 0.2), (0.4, 0.6, 0.1, 0.2),
    (0.7, 0.7, 0.3, 0.3),
]  # fmt: skip


def yolo(root: Path, rows: list[str], extra: str = "") -> Dataset:
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    Image.new("RGB", (160, 120)).save(root / "images" / "a.png")
    (root / "labels" / "a.txt").write_text("\n".join(rows))
    (root / "data.yaml").write_text(f"train: images\nnames: [dog]\n{extra}")
    return open_dataset(root, quiet=True)


def pose(points: int, numbers: int, rng: np.random.Generator) -> list[str]:
    rows = []
    for x, y, width, height in CENTRES:
        found = [f"0 {x} {y} {width} {height}"]
        for _ in range(points):
            dx, dy = rng.uniform(-0.45, 0.45, 2)
            found.append(f"{x + dx * width:.4f} {y + dy * height:.4f}" + " 2" * (numbers == 3))
        rows.append(" ".join(found))
    return rows


SHAPES = [(17, 2), (17, 3), (4, 2), (4, 3), (1, 2), (2, 2), (5, 3), (21, 2)]


@pytest.mark.parametrize(("points", "numbers"), SHAPES)
def test_keypoints_are_left_out_where_their_shape_is_given(tmp_path: Path, points: int, numbers: int) -> None:
    data = yolo(tmp_path, pose(points, numbers, np.random.default_rng(0)), f"kpt_shape: [{points}, {numbers}]\n")
    wide = np.array([[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in CENTRES]) * [160, 120, 160, 120]
    np.testing.assert_allclose(data.annotations().boxes, wide)
    assert not data.has_masks


@pytest.mark.parametrize(("points", "numbers"), SHAPES)
def test_keypoints_of_unknown_shape_are_errors_that_name_the_key(tmp_path: Path, points: int, numbers: int) -> None:
    data = yolo(tmp_path, [*pose(points, numbers, np.random.default_rng(0)), "0 0.5 0.5 0.2 0.2"])
    assert len(data.annotations().labels) == 1
    assert f"kpt_shape: [{points}, {numbers}]" in data.problems[0].message


def outlines(count: int, rng: np.random.Generator) -> list[list[float]]:
    """Outlines around centres all over the image, with ``count`` points each."""
    found = []
    for x, y in rng.uniform(0.15, 0.85, (40, 2)):
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        radius = rng.uniform(0.03, 0.14)
        found.append([0.0, *np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).ravel().tolist()])
    return found


@pytest.mark.parametrize("count", [3, 4, 5, 8, 17, 30])
def test_outlines_stay_outlines(count: int) -> None:
    assert row_form(outlines(count, np.random.default_rng(count))) == RowForm()


def test_rows_that_can_be_both_are_told(tmp_path: Path) -> None:
    rows = ["0 0.2 0.2 0.25 0.2 0.25 0.25 0.2 0.25"]
    data = yolo(tmp_path / "a", rows)
    assert len(data.annotations().labels) == 1
    assert "kpt_shape: [2, 2]" in data.problems[0].message
    assert yolo(tmp_path / "b", rows, "task: segment\n").problems == ()


@pytest.mark.parametrize("tail", ["{id}", "0.87 {id}"])
def test_rows_of_a_tracker_are_errors(tmp_path: Path, tail: str) -> None:
    rows = [f"0 {x} {y} {w} {h} {tail.format(id=n)}" for n, (x, y, w, h) in enumerate(CENTRES, 1)]
    data = yolo(tmp_path, [*rows, "0 0.5 0.5 0.2 0.2"])
    assert len(data.annotations().labels) == 1
    assert all("track id" in problem.message for problem in data.problems)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([f"0 {x - w / 2} {y - h / 2} {x + w / 2} {y + h / 2}" for x, y, w, h in CENTRES], "x1 y1 x2 y2"),
        ([f"0 {x * 160} {y * 120} {w * 160} {h * 120}" for x, y, w, h in CENTRES], "px"),
    ],
)
def test_yolo_boxes_in_other_units(tmp_path: Path, rows: list[str], word: str) -> None:
    with pytest.raises(DataError, match=word):
        yolo(tmp_path, rows)


@pytest.mark.parametrize(("form", "word"), [("shares", "shares"), ("sizes", "x, y, width, height"), ("px", "")])
def test_voc_boxes_in_other_units(tmp_path: Path, form: str, word: str) -> None:
    body = ""
    for x, y, w, h in CENTRES:
        corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
        sizes = np.array([x - w / 2, y - h / 2, w, h])
        scale = np.array([160, 120, 160, 120])
        box = {"shares": corners, "px": corners * scale, "sizes": sizes * scale}[form]
        tags = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        body += f"<object><name>dog</name><bndbox>{tags}</bndbox></object>"
    Image.new("RGB", (160, 120)).save(tmp_path / "a.png")
    size = "<size><width>160</width><height>120</height></size>"
    (tmp_path / "a.xml").write_text(f"<annotation>{size}{body}</annotation>")
    if not word:
        assert len(open_dataset(tmp_path).annotations().labels) == len(CENTRES)
        return
    with pytest.raises(DataError, match=word):
        open_dataset(tmp_path)


def test_two_images_with_one_label_file_are_told(tmp_path: Path) -> None:
    yolo(tmp_path, ["0 0.5 0.5 0.2 0.2"])
    Image.new("RGB", (160, 120)).save(tmp_path / "images" / "a.jpg")
    assert [problem.code for problem in open_dataset(tmp_path).problems] == ["shared-label"] * 2


@pytest.mark.parametrize("row", ["0 80 60 40 30", "0 80 60 160 120", "0 60 45 100 45 100 75.5"])
def test_a_row_in_pixels_among_shares_is_told_as_such(tmp_path: Path, row: str) -> None:
    data = yolo(tmp_path, [*(f"0 {x} {y} {w} {h}" for x, y, w, h in CENTRES), row])
    (problem,) = data.problems
    assert (problem.severity, problem.line) == ("error", len(CENTRES) + 1)
    assert "px" in problem.message
    assert len(data.annotations().labels) == len(CENTRES)


def test_outlines_in_pixels_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="look like px"):
        yolo(tmp_path, [f"0 {x} 45 {x + 40} 45 {x + 40} 75 {x} 75" for x in range(10, 70, 10)])


def test_one_far_point_of_an_outline_is_no_sign_of_pixels(tmp_path: Path) -> None:
    data = yolo(tmp_path, ["0 0.1 9 0.5 0.1 0.5 0.5"])
    assert len(data.annotations().labels) == 1


def test_the_area_of_an_outline_is_the_object_s(tmp_path: Path) -> None:
    data = yolo(tmp_path, ["0 0 0 0.5 0 0 0.5", "0 0.5 0.5 1.5 0.5 1.5 1 0.5 1", "0 0.5 0.5 0.5 0.5"])
    # half of 80 x 60 px; 160 x 60 px, of which half lies in the image; a box
    np.testing.assert_allclose(data.annotations().areas, [2400, 4800, 4800])
