"""Bad input, one defect at a time: what ``data check`` says, word for word, and what training does with it."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from detzoo.cli.data import app
from detzoo.data import open_dataset
from detzoo.data.checking.check import check
from detzoo.errors import DataError

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>12</ymax></bndbox>"
CAT = f"<object>\n<name>cat</name>{BOX}</object>"


def image(path: Path, width: int = 40, height: int = 30, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def xml(body: str, size: str = "<width>40</width><height>30</height>", head: str = "") -> str:
    return f"{head}<annotation>\n<size>{size}</size>\n{body}\n</annotation>\n"


def voc(folder: Path, body: str = CAT, **options: str) -> Path:
    """One good pair, ``a``, and one, ``b``, with the given body."""
    for seed, name in enumerate("ab"):
        image(folder / f"{name}.png", seed=seed)
    (folder / "a.xml").write_text(xml(CAT))
    (folder / "b.xml").write_text(xml(body, **options))
    return folder


def report(spec: Path, root: Path | None = None) -> list[str]:
    """The problems, with paths relative to the dataset."""
    return [str(problem).replace(f"{root or spec}/", "") for problem in check(spec)]


def test_a_good_set_has_no_problem(tmp_path: Path) -> None:
    assert report(voc(tmp_path)) == []


def boxed(x1: object, y1: object, x2: object, y2: object, name: str = "cat") -> str:
    box = f"<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
    return f"<object><name>{name}</name>{box}</object>"


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


def test_declared_encodings_are_followed_or_refused(tmp_path: Path) -> None:
    voc(tmp_path)
    declared = xml(boxed(1, 1, 9, 9, "c\xe9"), head='<?xml version="1.0" encoding="iso-8859-1"?>\n')
    (tmp_path / "b.xml").write_bytes(declared.encode("latin-1"))
    assert report(tmp_path) == []
    (tmp_path / "b.xml").write_bytes(declared.replace("iso-8859-1", "klingon").encode("latin-1"))
    assert report(tmp_path) == [
        "b.xml:1: error: bad-xml: the xml's encoding cannot be read: unknown encoding: klingon; the image is left out"
    ]


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


def convert_b(folder: Path, mode: str, name: str = "b.png", **options: Any) -> None:
    with Image.open(folder / "b.png") as opened:
        converted = opened.convert(mode)
    converted.save(folder / name, **options)


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


def test_16_bit_images(tmp_path: Path) -> None:
    voc(tmp_path)
    Image.fromarray(np.zeros((30, 40), np.uint16)).save(tmp_path / "b.png")
    assert report(tmp_path) == ["b.png: warning: 16-bit-image: 16-bit grey, of which 8 are used; scaled as 8 bits"]
    rows = b"".join(b"\0" + bytes(6 * 40) for _ in range(30))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + colour + chunk(b"IEND", b""))
    assert report(tmp_path) == [
        "b.png: warning: 16-bit-image: 16 bits per channel, of which 8 are used; scaled as 8 bits"
    ]


def test_cmyk_and_wrong_extension(tmp_path: Path) -> None:
    voc(tmp_path)
    convert_b(tmp_path, "CMYK", format="JPEG")
    assert report(tmp_path) == [
        "b.png: warning: wrong-extension: holds a JPEG image; read as such",
        "b.png: info: cmyk-image: CMYK; converted to RGB without a colour profile",
    ]


def test_truncated_and_empty_images(tmp_path: Path) -> None:
    voc(tmp_path)
    data = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "a.png").write_bytes(b"")
    found = report(tmp_path)
    assert found[0] == "a.png: error: bad-image: the file is empty"
    assert found[1].startswith("b.png: error: bad-image: truncated or damaged: ")
    with pytest.raises(DataError, match="truncated or damaged"):
        open_dataset(tmp_path).sample(1)


def test_an_exif_rotated_photograph_whose_boxes_were_drawn_upright(tmp_path: Path) -> None:
    voc(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "b.png") as opened:
        turned = opened.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "b.png", exif=exif)
    assert report(tmp_path) == ["b.png: info: exif-rotated: EXIF orientation 6; turned upright"]
    assert open_dataset(tmp_path).sample(1).image.shape == (30, 40, 3)


def test_an_exif_rotated_photograph_whose_boxes_fit_the_unturned_file(tmp_path: Path) -> None:
    voc(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(tmp_path / "b.png") as opened:
        stored = opened.copy()
    stored.save(tmp_path / "b.png", exif=exif)
    assert report(tmp_path) == [
        "b.png: warning: exif-rotated: EXIF orientation 6, but the boxes fit the image as it lies; not turned"
    ]
    np.testing.assert_array_equal(open_dataset(tmp_path).sample(1).image, np.asarray(stored))


def test_an_image_of_another_size_than_its_annotation(tmp_path: Path) -> None:
    voc(tmp_path)
    image(tmp_path / "b.png", 80, 60)
    message = "the image is 80 x 60 px, its annotation says 40 x 30: the boxes cannot be trusted"
    assert report(tmp_path) == [f"b.png: error: size-mismatch: {message}; left out"]
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path).sample(1)
    assert str(caught.value) == f"{tmp_path / 'b.png'}: {message}"


def test_the_same_image_twice_and_in_two_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        image(tmp_path / split / f"{split}.png")
        (tmp_path / split / f"{split}.xml").write_text(xml(CAT))
    assert report(tmp_path) == [
        "train/train.png: warning: shared-image: leak: the same image stands in test, as test/test.png, and in train"
    ]
    sets = tmp_path / "devkit" / "ImageSets" / "Main"
    for name in (sets, tmp_path / "devkit" / "Annotations", tmp_path / "devkit" / "JPEGImages"):
        name.mkdir(parents=True)
    image(tmp_path / "devkit" / "JPEGImages" / "a.png")
    (tmp_path / "devkit" / "Annotations" / "a.xml").write_text(xml(CAT))
    for split in ("train", "trainval", "test"):
        (sets / f"{split}.txt").write_text("a\n")
    assert report(tmp_path / "devkit") == [
        "JPEGImages/a.png: warning: shared-image: leak: the image stands in test and in train"
    ]


def coco(folder: Path, **change: Any) -> Path:
    image(folder / "a.png")
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [note(1)],
    }
    path = folder / "train.json"
    path.write_text(json.dumps({**content, **change}, indent=1))
    return path


def note(own: int, **change: Any) -> dict[str, Any]:
    return {"id": own, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0, **change}


def test_a_good_coco_file_has_no_problem(tmp_path: Path) -> None:
    assert report(coco(tmp_path), tmp_path) == []
    data = open_dataset(tmp_path / "train.json")
    assert data.image_ids == [7]
    assert data.coco_ground_truth()["annotations"] == [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 10], "area": 100, "iscrowd": 0, "ignore": 0}
    ]


@pytest.mark.parametrize(
    ("annotation", "line", "boxes"),
    [
        (
            note(0),
            "30: warning: annotation-id-0: annotation id 0: pycocotools takes it for unmatched; renumbered here",
            2,
        ),
        (note(1), "30: error: duplicate-annotation-id: annotation id 1 is used twice; both boxes are kept", 2),
        (note(2, image_id=8), "30: error: unknown-image: annotation 2: no image has the id 8; left out", 1),
        (note(2, category_id=4), "30: error: unknown-class: annotation 2: no category has the id 4; left out", 1),
        (note(2, bbox=[1, 2, 0, 5]), "30: error: zero-box: annotation 2: box of 0 x 5 px; left out", 1),
        (note(2, bbox=[1, 2, -3, 5]), "30: error: negative-box: annotation 2: box of -3 x 5 px; left out", 1),
        (
            note(2, bbox=[1, 2, float("nan"), 5]),
            "30: error: bad-box: annotation 2: bbox must be four finite numbers x y w h, not [1, 2, nan, 5]; left out",
            1,
        ),
        (
            note(2, bbox=None),
            "30: error: bad-box: annotation 2: bbox must be four finite numbers x y w h, not None; left out",
            1,
        ),
        (
            note(2, bbox=[50, 2, 4, 4]),
            "30: error: box-outside: annotation 2: box lies outside the image of 40 x 30 px; left out",
            1,
        ),
        (
            note(2, bbox=[-5, 2, 10, 4]),
            "30: warning: box-outside: annotation 2: box reaches 5 px beyond the image of 40 x 30 px; clipped",
            2,
        ),
        (note(2, area=0), "30: warning: no-area: annotation 2: no area; width x height is used", 2),
        (
            note(2, segmentation=[[1, 2, 3]]),
            "30: error: bad-mask: annotation 2: a polygon of 3 numbers: x and y must come in pairs; "
            "the box has no mask",
            2,
        ),
        (7, "30: error: bad-annotation: annotation 1 is not a mapping; left out", 1),
    ],
)
def test_coco_annotations(tmp_path: Path, annotation: object, line: str, boxes: int) -> None:
    # images end on line 9, categories on 15, the first annotation stands on 17 to 29
    assert report(coco(tmp_path, annotations=[note(1, bbox=[2, 2, 9, 9]), annotation]), tmp_path) == [
        f"train.json:{line}"
    ]
    truth = open_dataset(tmp_path / "train.json", quiet=True).coco_ground_truth()
    assert [entry["id"] for entry in truth["annotations"]] == list(range(1, boxes + 1))


@pytest.mark.parametrize(
    ("image", "line"),
    [
        (
            {"id": 7, "file_name": "b.png", "width": 40, "height": 30},
            "9: error: duplicate-image-id: image id 7 is used twice; b.png is left out",
        ),
        (
            {"id": 8, "file_name": "/etc/passwd", "width": 40, "height": 30},
            "9: error: unsafe-path: file_name '/etc/passwd' leaves the image folder; the image is left out",
        ),
        (
            {"id": 8, "file_name": "x/../../b.png", "width": 40, "height": 30},
            "9: error: unsafe-path: file_name 'x/../../b.png' leaves the image folder; the image is left out",
        ),
        (
            {"id": "8"},
            "9: error: bad-image: an image needs an `id` and a `file_name`, not {'id': '8'}; left out",
        ),
    ],
)
def test_coco_images(tmp_path: Path, image: dict[str, Any], line: str) -> None:
    first = {"id": 7, "file_name": "a.png", "width": 40, "height": 30}
    assert report(coco(tmp_path, images=[first, image]), tmp_path) == [f"train.json:{line}"]
    assert open_dataset(tmp_path / "train.json", quiet=True).image_ids == [7]


def test_coco_image_without_size_objects_or_file(tmp_path: Path) -> None:
    first = {"id": 7, "file_name": "a.png"}
    second = {"id": 8, "file_name": "gone.png", "width": 4, "height": 4}
    assert report(coco(tmp_path, images=[first, second]), tmp_path) == [
        "train.json:3: warning: no-size: a.png: width and height are missing or impossible; the image's own are used",
        "train.json:7: info: no-objects: gone.png has no objects",
        "gone.png: error: missing-image: no such image",
    ]


def test_category_ids_with_gaps_become_labels_without(tmp_path: Path) -> None:
    categories = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]
    assert report(coco(tmp_path, categories=categories), tmp_path) == [
        "train.json:11: info: category-gaps: 2 category ids from 3 to 90 with 86 gaps; labels are 0..1"
    ]
    data = open_dataset(tmp_path / "train.json")
    assert (data.classes, data.category_ids) == (("cat", "dog"), (3, 90))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: error: unreadable: not valid JSON: Expecting value"),
        ("{\n\n,", ":3: error: unreadable: not valid JSON: Expecting property name enclosed in double quotes"),
        (
            "[]",
            ": error: unreadable: not a COCO instances file: the list `images` is missing "
            "(needed: images, annotations, categories)",
        ),
        ("[" * 100_000, ": error: unreadable: not valid JSON: nested too deeply"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            ": error: unreadable: category id 1 stands for both 'a' and 'b'",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            ": error: unreadable: two categories are called 'a'",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            ": error: unreadable: a category needs a whole number `id` and a `name`, not {'id': 1}",
        ),
    ],
)
def test_unusable_coco_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.json").write_text(text)
    assert report(tmp_path / "train.json", tmp_path) == [f"train.json{message}"]
    with pytest.raises(DataError):
        open_dataset(tmp_path / "train.json")


def yolo(folder: Path, text: str) -> Path:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    image(folder / "images" / "a.png")
    (folder / "labels" / "a.txt").write_text(text)
    (folder / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    return folder


@pytest.mark.parametrize(
    ("text", "line", "boxes"),
    [
        ("", ": info: no-objects: no objects", 0),
        ("\n2 .5 .5 .1 .1", ":2: error: unknown-class: class 2 has no name in the class list; left out", 0),
        ("0 .5 .5 0 .1", ":1: error: zero-box: cat: box of 0 x 3 px; left out", 0),
        ("0 .5 .5 -.1 .1", ":1: error: negative-box: cat: box of -4 x 3 px; left out", 0),
        ("1 1.5 .5 .1 .1", ":1: error: box-outside: dog: box lies outside the image; left out", 0),
        ("1 1 .5 .5 .1", ":1: warning: box-outside: dog: box reaches 10.0 px beyond the image; clipped", 1),
        ("0 .5 .5 .1 .1\n0 .5 .5 .1 .1", ":2: warning: duplicate-box: the same line again; kept", 2),
        *[
            (
                text,
                f":1: error: bad-annotation: {text!r}: needed: class cx cy w h, "
                "or class and the x y of at least 3 points; left out",
                0,
            )
            for text in ("0 .5 .5", "cat .5 .5 .1 .1", "0.5 .5 .5 .1 .1", "0 nan .5 .1 .1", "0 .5 .5 .1 .1 .9")
        ],
    ],
)
def test_yolo_lines(tmp_path: Path, text: str, line: str, boxes: int) -> None:
    assert report(yolo(tmp_path, text)) == [f"labels/a.txt{line}"]
    assert len(open_dataset(tmp_path, quiet=True).annotations().labels) == boxes


def test_yolo_polygons_become_boxes_and_masks(tmp_path: Path) -> None:
    sample = open_dataset(yolo(tmp_path, "1 .25 .2 .75 .2 .75 .8 .25 .8")).sample(0)
    np.testing.assert_allclose(sample.boxes, [[10, 6, 30, 24]], atol=1e-5)
    assert sample.masks is not None
    assert sample.masks.sum() == 20 * 18


def test_yolo_lists_that_climb(tmp_path: Path) -> None:
    yolo(tmp_path, "0 .5 .5 .1 .1")
    (tmp_path / "train.txt").write_text("./images/a.png\n/etc/passwd\n../x.png\nimages/gone.png\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat]\n")
    found = report(tmp_path)
    assert found[:2] == [
        "train.txt:2: error: unsafe-path: '/etc/passwd' leaves the dataset's folder; left out",
        "train.txt:3: error: unsafe-path: '../x.png' leaves the dataset's folder; left out",
    ]
    assert found[2] == "images/gone.png: error: missing-image: no such image; left out"
    data = open_dataset(tmp_path, quiet=True)
    assert (len(data), len(data.annotations().labels)) == (1, 1)


def masks(folder: Path) -> Path:
    for name in ("images", "masks"):
        (folder / "s" / "x" / name).mkdir(parents=True)
    image(folder / "s" / "x" / "images" / "x.png")
    full = np.zeros((30, 40), np.uint8)
    full[2:9, 3:6] = 255
    Image.fromarray(full).save(folder / "s" / "x" / "masks" / "1.png")
    return folder / "s" / "x" / "masks"


def test_mask_folders(tmp_path: Path) -> None:
    folder = masks(tmp_path)
    thin, other = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    thin[10:20, 3] = 255
    other[8:10, 5:8] = 255
    Image.fromarray(thin).save(folder / "2.png")
    Image.fromarray(other).save(folder / "3.png")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(folder / "4.png")
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(folder / "5.png")
    (folder / "6.png").write_text("no")
    found = report(tmp_path)
    assert found[:3] == [
        "s/x/masks/2.png: warning: thin-mask: the mask is 1 x 10 px (zero by max - min); kept",
        "s/x/masks/4.png: error: zero-box: the mask is empty; left out",
        "s/x/masks/5.png: error: bad-mask: 4 x 3 px on an image of 40 x 30 px; left out",
    ]
    assert found[3].startswith("s/x/masks/6.png: error: bad-mask: the mask cannot be read: ")
    assert found[4:] == ["s/x/masks: warning: overlapping-masks: 1 px belong to more than one mask; kept"]
    assert open_dataset(tmp_path, quiet=True).sample(0).boxes.tolist() == [[3, 2, 6, 9], [3, 10, 4, 20], [5, 8, 8, 10]]


def test_the_command_prints_the_lines_and_leaves_with_1(tmp_path: Path) -> None:
    voc(tmp_path, boxed(5, 5, 5, 9))
    result = CliRunner().invoke(app, ["check", str(tmp_path)])
    assert result.exit_code == 1
    assert result.stdout == (
        f"{tmp_path}/b.xml:3: error: zero-box: cat: box 5 5 5 9; left out\n1 errors, 0 warnings, 0 notes\n"
    )
    as_json = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout) == [
        {
            "severity": "error",
            "code": "zero-box",
            "path": f"{tmp_path}/b.xml",
            "line": 3,
            "message": "cat: box 5 5 5 9; left out",
            "image": None,
        }
    ]


def test_the_command_leaves_with_0_when_nothing_is_wrong(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(voc(tmp_path))])
    assert (result.exit_code, result.stdout) == (0, "no defect found\n")


def test_many_of_a_kind_are_shortened(tmp_path: Path) -> None:
    voc(tmp_path, (boxed(5, 5, 5, 9) + "\n") * 30)
    lines = CliRunner().invoke(app, ["check", str(tmp_path)]).stdout.splitlines()
    assert "... and 10 more zero-box (--all shows them)" in lines
    assert sum("error: zero-box" in line for line in lines) == 20
    everything = CliRunner().invoke(app, ["check", str(tmp_path), "--all"]).stdout
    assert everything.count("error: zero-box") == 30
