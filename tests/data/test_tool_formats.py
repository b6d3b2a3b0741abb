"""labelme, VIA, CVAT for images and Open Images, made by hand as the tools write them."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detzoo.data import Dataset, list_splits, open_dataset
from detzoo.data.formats.opening import evaluation_split
from detzoo.errors import DataError

WIDTH, HEIGHT = 40, 20


def image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 80, 90)).save(path)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def opened(spec: Path, split: str | None = None) -> Dataset:
    return open_dataset(spec, split, quiet=True, lines=True)


def objects(data: Dataset) -> list[tuple[str, list[float]]]:
    index = data.annotations()
    return [(data.classes[label], box.round(6).tolist()) for label, box in zip(index.labels, index.boxes, strict=True)]


def codes(data: Dataset) -> list[tuple[str, int | None]]:
    return [(problem.code, problem.line) for problem in data.problems]


# labelme ------------------------------------------------------------------------------------------------------------


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
    with pytest.raises(DataError, match="no class is called 'cow'; there are dog"):
        opened(write(tmp_path / "data.yaml", f"format: labelme\nclasses: [cow]\nsplits: {{x: {part}}}\n"))


def test_an_image_of_another_size_is_an_error(tmp_path: Path) -> None:
    image(tmp_path / "a.jpg", (30, 30))
    data = opened(labelme(tmp_path / "a.json", RECTANGLE))
    with pytest.raises(DataError, match="its annotation says 40 x 20"):
        data[0]


# VIA ----------------------------------------------------------------------------------------------------------------


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


# CVAT ---------------------------------------------------------------------------------------------------------------

BOX = '<box label="dog" source="manual" occluded="0" xtl="4.00" ytl="2.00" xbr="14.00" ybr="12.00" z_order="0"></box>'


def cvat(path: Path, *shapes: str, given: str = f'width="{WIDTH}" height="{HEIGHT}"', name: str = "a.jpg") -> Path:
    inside = "\n".join(shapes)
    return write(
        path,
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task><size>1</size>'
        "<labels><label><name>dog</name></label></labels></task></meta>\n"
        f'<image id="0" name="{name}" {given}>\n{inside}\n</image>\n</annotations>\n',
    )


def test_cvat_for_images(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.jpg")
    polygon = '<polygon label="cat" points="1.0,1.0;11.0,1.0;11.0,9.0;1.0,9.0" z_order="0"></polygon>'
    ellipse = '<ellipse label="cat" cx="20" cy="10" rx="6" ry="4"><attribute name="colour">red</attribute></ellipse>'
    turned = '<box label="dog" xtl="4" ytl="2" xbr="14" ybr="12" rotation="30"></box>'
    cvat(tmp_path / "annotations.xml", BOX, polygon, ellipse, turned, '<points label="dog" points="1,1"></points>')
    for spec in (tmp_path, tmp_path / "annotations.xml"):
        data = opened(spec)
        assert objects(data) == [("dog", [4, 2, 14, 12]), ("cat", [1, 1, 11, 9]), ("cat", [14, 6, 26, 14])]
        assert codes(data) == [("passed-over", None)]
        assert "1 points, 1 rotated box" in data.problems[0].message
    masks = data[0].masks
    assert masks is not None
    assert masks[1].sum() == 80


def cvat_project(path: Path, *subsets: str | None, meta: str = "") -> Path:
    """A project's export: an image of each subset, 0.jpg, 1.jpg, ..."""
    images = ""
    for number, subset in enumerate(subsets):
        of = "" if subset is None else f'subset="{subset}" task_id="{number}" '
        images += f'<image id="{number}" name="{number}.jpg" {of}width="{WIDTH}" height="{HEIGHT}">\n{BOX}\n</image>\n'
    return write(path, f"<annotations>\n<version>1.1</version>\n<meta>{meta}</meta>\n{images}</annotations>\n")


def test_cvats_subsets_are_splits(tmp_path: Path) -> None:
    for place in ("Train/0", "Validation/1", "Test/2", "Train/3"):
        image(tmp_path / "images" / f"{place}.jpg")
    path = cvat_project(tmp_path / "annotations.xml", "Train", "Validation", "Test", "Train")
    for spec in (tmp_path, path):
        assert list_splits(spec) == ("Train", "Validation", "Test")
        assert [Path(place).name for place in opened(spec, "Train").paths] == ["0.jpg", "3.jpg"]
        assert opened(spec, "Test").paths == [str(tmp_path / "images" / "Test" / "2.jpg")]
        assert objects(opened(spec, "Validation")) == [("dog", [4, 2, 14, 12])]
    assert len(opened(tmp_path, "Train+Test")) == 3
    assert evaluation_split(str(tmp_path), None) == "Test"


@pytest.mark.parametrize(
    ("subsets", "meta", "expected"),
    [
        ((), "", ("all",)),
        ((None, None), "", ("all",)),
        (("default", "default"), "", ("all",)),
        (("", ""), "", ("all",)),
        (("Train", ""), "", ("Train", "default")),
        (("Train", None), "", ("Train", "default")),
        ((None, None), "<task><subset>Test</subset></task>", ("Test",)),
        ((None,), "<job><subset>\n Validation </subset></job>", ("Validation",)),
        ((None,), "<task><subset>default</subset></task>", ("all",)),
        ((None,), "<task><labels><subset>Test</subset></labels></task>", ("all",)),
        (("cats &amp; dogs",), "", ("cats & dogs",)),
    ],
)
def test_what_cvat_may_say_of_subsets(tmp_path: Path, subsets: Any, meta: str, expected: tuple[str, ...]) -> None:
    path = cvat_project(tmp_path / "annotations.xml", *subsets, meta=meta)
    assert list_splits(path) == expected
    for number in range(len(subsets)):
        image(tmp_path / "images" / f"{number}.jpg")
    if subsets:
        assert sum(len(opened(path, split)) for split in expected) == len(subsets)


@pytest.mark.parametrize("subset", ["../Train", "/tmp", "x" * 300, "a/b"])
def test_a_subset_is_no_path_out_of_the_folder(tmp_path: Path, subset: str) -> None:
    image(tmp_path / "data" / "images" / "0.jpg")
    image(tmp_path / "Train" / "0.jpg", (9, 9))
    data = opened(cvat_project(tmp_path / "data" / "annotations.xml", subset))
    assert data.split == subset
    assert data.paths == [str(tmp_path / "data" / "images" / "0.jpg")]


def test_subsets_of_several_files_and_in_a_data_yaml(tmp_path: Path) -> None:
    for name in ("Train/0", "Test/1"):
        image(tmp_path / "images" / f"{name}.jpg")
    cvat_project(tmp_path / "one.xml", "Train", "Test")
    assert list_splits(tmp_path) == ("Train", "Test")
    cvat_project(tmp_path / "two.xml", None, meta="<task><subset>Test</subset></task>")
    image(tmp_path / "images" / "Test" / "0.jpg")
    assert (len(opened(tmp_path, "Train")), len(opened(tmp_path, "Test"))) == (1, 2)
    learn = "  learn: {annotations: one.xml, subset: Train}\n"
    whole = "  all: {annotations: one.xml, images: images/Test}\n"
    yaml = write(tmp_path / "sets" / "data.yaml", f"format: cvat\npath: {tmp_path}\nsplits:\n{learn}{whole}")
    assert opened(yaml, "learn").paths == [str(tmp_path / "images" / "Train" / "0.jpg")]
    assert len(opened(yaml, "all")) == 2
    for text, message in (("subset: Dev", "of the subset 'Dev'; there are Train, Test"), ("subset: 3", "not 3")):
        write(yaml, yaml.read_text().replace("subset: Train", text))
        with pytest.raises(DataError, match=message):
            opened(yaml, "learn")
        write(yaml, yaml.read_text().replace(text, "subset: Train"))


@pytest.mark.parametrize(
    ("shapes", "changes", "expected"),
    [
        ([BOX, BOX.replace("4.00", "x")], {}, [("bad-annotation", 7)]),
        ([BOX, BOX.replace('xtl="4.00"', "")], {}, [("bad-annotation", 7)]),
        ([BOX, BOX.replace("4.00", "34.00", 1)], {}, [("bad-annotation", 7)]),
        ([BOX, BOX.replace('label="dog"', "")], {}, [("unknown-class", 7)]),
        ([BOX, '<polygon label="dog" points="1,1;2,2"></polygon>'], {}, [("bad-annotation", 7)]),
        ([BOX], {"given": 'width="40"'}, [("no-size", 5)]),
        ([BOX], {"name": "task/a.jpg"}, [("guess", None)]),
    ],
)
def test_cvat_near_misses(
    tmp_path: Path, shapes: list[str], changes: dict[str, str], expected: list[tuple[str, int | None]]
) -> None:
    image(tmp_path / "images" / "a.jpg")
    assert codes(opened(cvat(tmp_path / "annotations.xml", *shapes, **changes))) == expected


def test_cvat_files_that_are_not_read(tmp_path: Path) -> None:
    path = cvat(tmp_path / "a.xml", BOX)
    text = path.read_text()
    with pytest.raises(DataError, match=r"a\.xml:5: no such image.*gone\.jpg|no usable image"):
        opened(path)
    for old, new, message in (
        ("</image>", "</imag>", r"a\.xml:7: not well-formed"),
        ("</image>", "<a>" * 70 + "</a>" * 70 + "</image>", r"a\.xml:7: nested deeper than 64"),
        ("<image", "<track/><image", r"a\.xml:5: this is CVAT's xml for videos"),
        ("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>', "entities are rejected"),
    ):
        write(path, text.replace(old, new, 1))
        with pytest.raises(DataError, match=message):
            opened(path)


# Open Images --------------------------------------------------------------------------------------------------------

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
