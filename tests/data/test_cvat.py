"""CVAT for images, made by hand as it writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detzoo.data import list_splits
from detzoo.data.formats.opening import evaluation_split
from detzoo.errors import DataError
from tests.data.tool_files import HEIGHT, WIDTH, codes, image, objects, opened, write

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
