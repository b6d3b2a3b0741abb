"""VIA and Open Images, made by hand as the tools write them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from detzoo.data import list_splits
from detzoo.errors import DataError
from tests.data.tool_files import codes, image, objects, opened, write

# VIA ------------------------------------------------------------------------------------------------------------------


def region(called: str = "dog", *, attribute: str = "class", **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": attributes, "region_attributes": {attribute: called}}


RECT: dict[str, Any] = {"name": "rect", "x": 4, "y": 2, "width": 10, "height": 10}


def via(path: Path, regions: Any, *, project: bool = False) -> Path:
    content: dict[str, Any] = {
        "a.jpg1234": {"filename": "a.jpg", "size": 1234, "regions": regions, "file_attributes": {}}
    }
    if project:
        content = {"_via_settings": {"ui": {}}, "_via_img_metadata": content, "_via_attributes": {"region": {}}}
    return write(path, json.dumps(content))


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("numbered", [False, True])
def test_via(tmp_path: Path, project: bool, numbered: bool) -> None:
    image(tmp_path / "images" / "a.jpg")
    polygon: dict[str, Any] = {"name": "polygon", "all_points_x": [1, 11, 11, 1], "all_points_y": [1, 1, 9, 9]}
    regions: Any = [
        region(**RECT),
        region("cat", **polygon),
        region("cat", name="circle", cx=20, cy=10, r=5),
        region("cat", name="ellipse", cx=20, cy=10, rx=6, ry=4),
        region("dog", name="point", cx=3, cy=3),
    ]
    via(tmp_path / "via_region_data.json", dict(enumerate(regions)) if numbered else regions, project=project)
    data = opened(tmp_path)
    assert objects(data) == [
        ("dog", [4, 2, 14, 12]), ("cat", [1, 1, 11, 9]), ("cat", [15, 5, 25, 15]), ("cat", [14, 6, 26, 14]),
    ]  # fmt: skip
    assert codes(data) == [("passed-over", None)]
    assert data.has_masks


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([region(**RECT), region(**(RECT | {"x": "left"}))], [("bad-annotation", 1)]),
        ([region(**RECT), region(**(RECT | {"width": -3}))], [("bad-annotation", 1)]),
        ([region(**RECT), region("", **RECT)], [("unknown-class", 1)]),
        (
            [region(**RECT), region(name="polygon", all_points_x=[1, 2, 3], all_points_y=[1, 2])],
            [("bad-annotation", 1)],
        ),
        ([region(**RECT), {"region_attributes": {}}], [("bad-annotation", 1)]),
        ([region(**RECT), region(name=["rect"])], [("passed-over", None)]),
    ],
)
def test_via_near_misses(tmp_path: Path, regions: Any, expected: list[tuple[str, int | None]]) -> None:
    image(tmp_path / "a.jpg")
    assert codes(opened(via(tmp_path / "via.json", regions))) == expected


def test_vias_class_is_asked_for_where_it_is_not_clear(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg")
    regions = [region(**RECT), region("red", attribute="colour", **RECT)]
    assert opened(via(tmp_path / "via.json", regions)).classes == ("dog",)
    regions = [region("x", attribute="kind", **RECT), region("red", attribute="colour", **RECT)]
    with pytest.raises(DataError, match="kind, colour: which is the class"):
        opened(via(tmp_path / "via.json", regions))


# Open Images ----------------------------------------------------------------------------------------------------------

HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"


def open_images(root: Path, *rows: str, header: str = HEADER) -> Path:
    for split in ("train", "validation"):
        image(root / split / "0001eeaf4aed83f9.jpg")
        write(root / f"{split}-annotations-bbox.csv", "\n".join((header, *rows)) + "\n")
    write(root / "class-descriptions-boxable.csv", "/m/0bt9lr,Dog\n/m/01yrx,Cat\n")
    return root


GOOD = "0001eeaf4aed83f9,xclick,/m/0bt9lr,1,0.1,0.35,0.1,0.6,0,0,0,0,0"


def test_a_pipe_among_the_files_is_not_opened(tmp_path: Path) -> None:
    open_images(tmp_path, GOOD)
    os.mkfifo(tmp_path / "more.csv")
    assert list_splits(tmp_path) == ("train", "validation")


def test_open_images(tmp_path: Path) -> None:
    open_images(tmp_path, GOOD, "0001eeaf4aed83f9,xclick,/m/01yrx,1,0,1,0,1,-1,-1,1,0,0")
    assert list_splits(tmp_path) == ("train", "validation")
    for split in ("train", "validation"):
        data = opened(tmp_path, split)
        assert data.paths == [str(tmp_path / split / "0001eeaf4aed83f9.jpg")]
        assert objects(data) == [("Dog", [4, 2, 14, 12]), ("Cat", [0, 0, 40, 20])]
        assert data.annotations().crowd.tolist() == [False, True]
        assert codes(data) == []


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (GOOD.replace("0.35", "35"), [("bad-annotation", 3)]),
        (GOOD.replace("0.35", "0.05"), [("bad-annotation", 3)]),
        (GOOD.replace("0.35", ""), [("bad-annotation", 3)]),
        (GOOD + ",1", [("bad-annotation", 3)]),
        (GOOD, [("duplicate-box", 3)]),
        (GOOD.replace("0001eeaf4aed83f9", "gone"), [("missing-image", 3)]),
        (GOOD.replace("0.35", "0.4").replace("0,0,0,0,0", "0,0,2,0,0"), [("bad-flag", 3)]),
    ],
)
def test_open_images_near_misses(tmp_path: Path, row: str, expected: list[tuple[str, int | None]]) -> None:
    assert codes(opened(open_images(tmp_path, GOOD, row), "train")) == expected


def test_open_images_without_a_column(tmp_path: Path) -> None:
    open_images(tmp_path, GOOD, header=HEADER.replace("XMax", "XMaximum"))
    with pytest.raises(DataError, match="no dataset found"):
        opened(tmp_path)
