"""Defects of images: kinds, depths, cut files, turned photographs, duplicates."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detzoo.data import open_dataset
from detzoo.errors import DataError
from tests.data.damaged_sets import CAT, convert_b, image, report, voc, xml


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
