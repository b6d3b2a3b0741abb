"""labelme's files, made by hand as it writes them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detzoo.data import Dataset, list_splits
from detzoo.errors import DataError
from tests.data.tool_files import HEIGHT, WIDTH, codes, image, objects, opened, write


def shape(label: Any, points: Any, kind: str = "rectangle") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {}}


def labelme(path: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    content: dict[str, Any] = {
        "version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{path.stem}.jpg", "imageData": None,
        "imageHeight": HEIGHT, "imageWidth": WIDTH,
    }  # fmt: skip
    return write(path, json.dumps({key: value for key, value in (content | changes).items() if value != "-"}, indent=2))


RECTANGLE = shape("dog", [[14.0, 12.0], [4.0, 2.0]])  # drawn from the lower right corner


def test_labelme(tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.jpg")
    polygon = shape("cat", [[1, 1], [11, 1], [11, 9], [1, 9]], "polygon")
    circle = shape("cat", [[20, 10], [23, 14]], "circle")
    labelme(tmp_path / "a.json", RECTANGLE, polygon, circle, shape("dog", [[3, 3]], "point"))
    labelme(tmp_path / "b.json")
    data = opened(tmp_path)
    assert (data.split, data.classes, len(data)) == ("all", ("cat", "dog"), 2)
    assert objects(data) == [
        ("dog", [4, 2, 14, 12]), ("cat", [1, 1, 11, 9]), ("cat", [15, 5, 25, 15]),
    ]  # fmt: skip
    masks = data[0].masks
    assert masks is not None
    assert masks.sum(axis=(1, 2)).tolist() == [0, 80, 0]
    assert sorted(codes(data)) == [("no-objects", None), ("passed-over", None)]


@pytest.mark.parametrize(
    ("changes", "shapes", "expected"),
    [
        ({}, [shape("dog", [["x", 2], [4, 9]])], [("bad-annotation", 5)]),
        ({}, [shape("dog", [[4, 2]])], [("bad-annotation", 5)]),
        ({}, [RECTANGLE, shape(None, [[4, 2], [9, 9]])], [("unknown-class", 22)]),
        ({}, [RECTANGLE, shape(["dog"], [[4, 2], [9, 9]])], [("unknown-class", 22)]),
        ({}, [shape("dog", [[4, 2], [4, 9]])], [("zero-box", 5)]),
        ({}, [shape("dog", [[44, 2], [48, 9]])], [("box-outside", 5)]),
        ({}, [RECTANGLE, RECTANGLE], [("duplicate-box", 22)]),
        ({"imageHeight": "-"}, [RECTANGLE], [("no-size", None)]),
        ({"shapes": "-"}, [RECTANGLE], [("bad-annotation", None)]),
        ({"imagePath": 3}, [RECTANGLE], [("bad-image", None)]),
        ({"imagePath": "gone.jpg"}, [RECTANGLE], [("missing-image", None)]),
        ({"imagePath": "..\\photos\\a.jpg"}, [RECTANGLE], [("guess", None)]),
    ],
)
def test_labelme_near_misses(
    tmp_path: Path, changes: dict[str, Any], shapes: list[dict[str, Any]], expected: list[tuple[str, int | None]]
) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.jpg")
    labelme(tmp_path / "a.json", *shapes, **changes)
    folder = "..\\photos\\" if "\\" in str(changes.get("imagePath")) else ""
    labelme(tmp_path / "b.json", RECTANGLE, imagePath=f"{folder}b.jpg")
    assert codes(opened(tmp_path)) == expected


def patch(pixels: Any) -> str:
    """A mask as labelme writes it: a PNG of 0 and 1 in base64."""
    stream = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


CORNER = [[1, 1, 1], [1, 0, 0]]


def mask_shape(pixels: Any = CORNER, points: Any = ((4, 6), (6, 7)), **changes: Any) -> dict[str, Any]:
    text = pixels if isinstance(pixels, str | None) else patch(pixels)
    return shape("cat", [list(point) for point in points], "mask") | {"mask": text} | changes


def polygon(x: float, *, label: str = "dog", group: Any = None) -> dict[str, Any]:
    """A square of 4 px, 2 px below the top."""
    return shape(label, [[x, 2], [x + 4, 2], [x + 4, 6], [x, 6]], "polygon") | {"group_id": group}


def masks_of(data: Dataset) -> NDArray[np.uint8]:
    found = data[0].masks
    assert found is not None
    return found


@pytest.mark.parametrize("white", [1, 255])
def test_a_labelme_mask_is_where_its_pixels_are(tmp_path: Path, white: int) -> None:
    image(tmp_path / "a.jpg")
    data = opened(labelme(tmp_path / "a.json", mask_shape((white * np.array(CORNER)).tolist()), RECTANGLE))
    assert objects(data) == [("cat", [4, 6, 7, 8]), ("dog", [4, 2, 14, 12])]
    expected = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    expected[0, 6:8, 4:7] = CORNER
    assert (masks_of(data) == expected).all()  # a rectangle has none
    assert codes(data) == []


@pytest.mark.parametrize(
    ("changed", "box"),
    [
        (mask_shape([[0, 0, 0], [0, 1, 0]]), [5, 7, 6, 8]),  # the box goes around the pixels
        (mask_shape(points=((-1, 6), (1, 7))), [0, 6, 2, 7]),  # one column is outside
        (mask_shape(points=((38, 19), (40, 20))), [38, 19, 40, 20]),
        (mask_shape(points=((4.4, 5.6), (6.4, 6.6))), [4, 6, 7, 8]),
        (mask_shape(points=((3.6, 6), (6.4, 7))), [4, 6, 7, 8]),
    ],
)
def test_labelme_masks_at_the_edge(tmp_path: Path, changed: dict[str, Any], box: list[float]) -> None:
    image(tmp_path / "a.jpg")
    data = opened(labelme(tmp_path / "a.json", changed))
    assert objects(data) == [("cat", box)]
    x1, y1, x2, y2 = (int(value) for value in box)
    assert masks_of(data)[0].sum() == masks_of(data)[0, y1:y2, x1:x2].sum() > 0
    assert codes(data) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (mask_shape(None), "`mask`, which is missing"),
        (mask_shape("no base64!"), "no base64"),
        (mask_shape(base64.b64encode(b"no image").decode()), "the mask"),
        (mask_shape(mask=[1, 2]), "base64 text, not"),
        (mask_shape(points=((4, 6), (9, 7))), "3 x 2 px, its points make 6 x 2"),
        (mask_shape(points=((6, 7), (4, 6))), "3 x 2 px"),
        (mask_shape(points=((4, 6),)), "2 points, not 1"),
        (mask_shape([[0, 0, 0], [0, 0, 0]]), "no pixel"),
        (mask_shape(points=((60, 6), (62, 7))), "no pixel"),
        (mask_shape(np.ones((2, 3, 3)).tolist()), "several channels"),
        (mask_shape(points=((4, 6), ("x", 7))), "pairs of numbers"),
    ],
)
def test_labelme_masks_that_are_none(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    image(tmp_path / "a.jpg")
    data = opened(labelme(tmp_path / "a.json", RECTANGLE, changed))
    assert [problem.code for problem in data.problems] == ["bad-annotation"]
    assert told in data.problems[0].message
    assert objects(data) == [("dog", [4, 2, 14, 12])]


def test_labelmes_groups_are_objects(tmp_path: Path) -> None:
    """A dog of two polygons, one of a polygon and a mask, and what belongs to no other."""
    image(tmp_path / "a.jpg")
    spot = mask_shape([[1, 1]], ((30, 10), (31, 10)), label="dog", group_id=2)
    alone = [polygon(12), polygon(12, group=3), polygon(12, group=""), polygon(12, label="cat", group=1)]
    other = RECTANGLE | {"group_id": 1}
    data = opened(
        labelme(
            tmp_path / "a.json", polygon(2, group=1), polygon(20, group=2), other, polygon(8, group=1), spot, *alone
        )
    )
    assert objects(data) == [
        ("dog", [2, 2, 12, 6]), ("dog", [20, 2, 32, 11]), ("dog", [4, 2, 14, 12]),
        *[("dog", [12, 2, 16, 6])] * 3, ("cat", [12, 2, 16, 6]),
    ]  # fmt: skip
    assert masks_of(data).sum(axis=(1, 2)).tolist() == [32, 18, 0, 16, 16, 16, 16]
    guesses = [problem.message for problem in data.problems if problem.code == "guess"]
    assert len(guesses) == 1
    assert "4 polygons and masks" in guesses[0]
    assert "2 objects" in guesses[0]


def test_a_part_that_cannot_be_read_does_not_take_the_others_along(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    broken = shape("dog", [[1, 1], [2, 2]], "polygon") | {"group_id": 1}
    data = opened(labelme(tmp_path / "a.json", polygon(2, group=1), broken, polygon(8, group=1)))
    assert objects(data) == [("dog", [2, 2, 12, 6])]
    assert sorted(problem.code for problem in data.problems) == ["bad-annotation", "guess"]


def test_lines_and_points_of_labelme_are_counted(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    others = [shape("dog", [[1, 1], [2, 2]], kind) for kind in ("line", "line", "linestrip", "point")]
    data = opened(labelme(tmp_path / "a.json", RECTANGLE, *others))
    assert [problem.code for problem in data.problems] == ["passed-over"]
    assert "2 line, 1 linestrip, 1 point" in data.problems[0].message


def test_labelme_in_the_folder_of_each_split_and_through_a_data_yaml(tmp_path: Path) -> None:
    for split in ("train", "val"):
        image(tmp_path / split / "a.jpg")
        labelme(tmp_path / split / "a.json", RECTANGLE)
    assert list_splits(tmp_path) == ("train", "val")
    assert objects(opened(tmp_path, "val")) == [("dog", [4, 2, 14, 12])]
    part = "{annotations: train, images: val}"
    data = opened(write(tmp_path / "data.yaml", f"format: labelme\nclasses: [dog]\nsplits: {{x: {part}}}\n"))
    assert data.paths == [str(tmp_path / "val" / "a.jpg")]
    with pytest.raises(DataError, match='unknown class "cow"; allowed: dog'):
        opened(write(tmp_path / "data.yaml", f"format: labelme\nclasses: [cow]\nsplits: {{x: {part}}}\n"))


def test_an_image_of_another_size_is_an_error(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg", (30, 30))
    data = opened(labelme(tmp_path / "a.json", RECTANGLE))
    with pytest.raises(DataError, match="its annotation says 40 x 20"):
        data[0]
