"""Defects of VOC files, one at a time: what ``data check`` says, and what training does with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from detzoo.data import open_dataset
from tests.data.damaged_sets import BOX, CAT, boxed, convert_b, image, report, voc, xml


def test_a_good_set_has_no_problem(tmp_path: Path) -> None:
    assert report(voc(tmp_path)) == []


@pytest.mark.parametrize(
    ("body", "line", "boxes"),
    [
        ("", "b.xml:1: info: no-objects: no objects", 1),
        (boxed(5, 5, 5, 9), "b.xml:3: error: zero-box: cat: box 5 5 5 9; left out", 1),
        (boxed(5, 5, 3, 9), "b.xml:3: error: negative-box: cat: box 5 5 3 9; left out", 1),
        (boxed("nan", 5, 9, 9), "b.xml:3: error: bad-box: cat: coordinates nan 5 9 9; left out", 1),
        (boxed("x", 5, 9, ""), "b.xml:3: error: bad-box: cat: coordinates x 5 9 ?; left out", 1),
        (boxed("1e999", 5, 9, 9), "b.xml:3: error: bad-box: cat: coordinates 1e999 5 9 9; left out", 1),
        (
            boxed(45, 5, 60, 9),
            "b.xml:3: error: box-outside: cat: box lies outside the image of 40 x 30 px; left out",
            1,
        ),
        (
            boxed(5, 5, 60, 9),
            "b.xml:3: warning: box-outside: cat: box reaches 20 px beyond the image of 40 x 30 px; clipped",
            2,
        ),
        (boxed(5, 5, 9.5, 9), "b.xml:3: info: float-coordinate: cat: box 5 5 9.5 9 is not in whole pixels", 2),
        (CAT + CAT, "b.xml:4: warning: duplicate-box: cat: the same box again; kept", 3),
        (
            f"<filename>../../etc/passwd</filename>{CAT}",
            "b.xml:3: error: unsafe-path: filename '../../etc/passwd' leaves the image folder; not followed",
            2,
        ),
        (
            f"\n<filename>C:\\b.png</filename>{CAT}",
            "b.xml:4: error: unsafe-path: filename 'C:\\\\b.png' leaves the image folder; not followed",
            2,
        ),
        ("<object>", "b.xml:4: error: bad-xml: not well-formed xml: mismatched tag; the image is left out", 1),
    ],
)
def test_voc_boxes_and_names(tmp_path: Path, body: str, line: str, boxes: int) -> None:
    assert report(voc(tmp_path, body)) == [line]
    data = open_dataset(tmp_path, quiet=True)
    kept = [data.sample(position).boxes for position in range(len(data))]
    assert sum(map(len, kept)) == boxes
    for found in kept:
        assert (found[:, 2:] > found[:, :2]).all()
        assert (found >= 0).all()
        assert (found <= [40, 30, 40, 30]).all()


def test_an_unknown_class_is_left_out(tmp_path: Path) -> None:
    voc(tmp_path, boxed(1, 1, 9, 9, name="dgo"))
    (tmp_path / "data.yaml").write_text("format: voc\nclasses: [cat, dog]\nsplits: {train: {path: .}}\n")
    assert report(tmp_path) == ["b.xml:3: error: unknown-class: class 'dgo' is not in the class list; left out"]


def test_parts_are_not_objects(tmp_path: Path) -> None:
    part = f"<part><name>head</name>{BOX}</part>"
    voc(tmp_path, f"<object><name>cat</name>{BOX}{part}</object>")
    data = open_dataset(tmp_path)
    assert data.classes == ("cat",)
    assert len(data.annotations().labels) == 2


@pytest.mark.parametrize("size", ["<width>0</width><height>0</height>", ""])
def test_xml_size_zero_is_replaced_by_the_images_own(tmp_path: Path, size: str) -> None:
    voc(tmp_path, CAT, size=size)
    stated = "0 x 0" if size else "? x ?"
    assert report(tmp_path) == [f"b.xml:2: warning: xml-size: the image's size is given as {stated}; its own is used"]
    assert open_dataset(tmp_path).annotations().sizes.tolist() == [[30, 40], [30, 40]]


def test_entity_bombs_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>\n'
    voc(tmp_path, "<object><name>&b;</name></object>", head=bomb)
    assert report(tmp_path) == [
        "b.xml:1: error: xml-entity: document types and entities are rejected (entity bombs); the image is left out"
    ]
    assert len(open_dataset(tmp_path, quiet=True)) == 1


def test_external_entities_are_refused(tmp_path: Path) -> None:
    voc(tmp_path, CAT, head='<!DOCTYPE a SYSTEM "file:///etc/passwd">\n')
    assert report(tmp_path) == [
        "b.xml:1: error: xml-entity: document types and entities are rejected (entity bombs); the image is left out"
    ]


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    voc(tmp_path, "<a>" * 3000 + "</a>" * 3000)
    assert report(tmp_path) == ["b.xml:3: error: bad-xml: nested deeper than 64 tags; the image is left out"]


def test_non_utf8_xml_is_read_as_latin_1_and_said_so(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "b.xml").write_bytes(xml(boxed(1, 1, 9, 9, "c\xe9")).encode("latin-1"))
    assert report(tmp_path) == ["b.xml:1: warning: xml-encoding: not UTF-8 and no encoding declared; read as Latin-1"]
    assert open_dataset(tmp_path).classes == ("cat", "cé")


def test_utf_16_without_a_mark_is_no_latin_1(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "b.xml").write_bytes(xml(boxed(1, 1, 9, 9, "c\xe9")).encode("utf-16-le"))
    assert report(tmp_path) == []
    assert open_dataset(tmp_path).classes == ("cat", "c\xe9")


def test_declared_encodings_are_followed_or_refused(tmp_path: Path) -> None:
    voc(tmp_path)
    declared = xml(boxed(1, 1, 9, 9, "c\xe9"), head='<?xml version="1.0" encoding="iso-8859-1"?>\n')
    (tmp_path / "b.xml").write_bytes(declared.encode("latin-1"))
    assert report(tmp_path) == []
    (tmp_path / "b.xml").write_bytes(declared.replace("iso-8859-1", "klingon").encode("latin-1"))
    (found,) = report(tmp_path)
    assert found.startswith(
        "b.xml:1: error: bad-xml: the xml's encoding cannot be read: unknown encoding: klingon; save"
    )


def test_files_without_partners(tmp_path: Path) -> None:
    voc(tmp_path)
    (tmp_path / "a.png").unlink()
    image(tmp_path / "c.png", seed=5)
    assert report(tmp_path) == [
        "c.png: warning: no-annotation: the image has no xml; left out",
        "a.xml: error: missing-image: no image called a; left out",
    ]


def test_image_sets_with_bad_lines(tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    image(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations" / "a.xml").write_text(xml(CAT))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n\n../a\nz\na\n")
    (tmp_path / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1\n")
    listed = "ImageSets/Main/train.txt"
    assert report(tmp_path) == [
        f"{listed}:3: error: unsafe-path: '../a' leaves the annotation folder; left out",
        f"{listed}:5: error: duplicate-image-id: a is listed twice; the second is left out",
        f"{listed}:4: error: no-annotation: z: no xml of that name in Annotations; left out",
    ]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("L", "info: grey-image: grey; read as RGB"),
        ("RGBA", "info: alpha-image: RGBA; transparency is dropped"),
        ("P", "info: palette-image: palette colours; read as RGB"),
        ("1", "info: grey-image: black and white; read as RGB"),
    ],
)
def test_kinds_of_images(tmp_path: Path, mode: str, message: str) -> None:
    voc(tmp_path)
    convert_b(tmp_path, mode)
    assert report(tmp_path) == [f"b.png: {message}"]
