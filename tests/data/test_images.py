"""Every kind of image that people have, and every way in which one can be broken."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detzoo.errors import DataError
from detzoo.runtime.images import decode_image, read_header, read_image

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_png_comes_back_as_it_was(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", Image.fromarray(RGB))), RGB)


def test_jpeg_has_the_same_bytes_from_opencv_and_pillow(shared: Path) -> None:
    for path in sorted((shared / "data" / "demo").rglob("*.jpg")):
        with Image.open(path) as opened:
            np.testing.assert_array_equal(read_image(path), np.asarray(opened.convert("RGB")), err_msg=str(path))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    # a bright corner: where it goes is what the eight orientations mean
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.abs(read_image(path).astype(int) - upright).max() < 30
    header = read_header(path)
    assert (header.size, header.orientation) == ((16, 32), orientation)
    as_stored = decode_image(path.read_bytes(), "a", upright=False)
    assert np.abs(as_stored.astype(int) - stored).max() < 30


def grey16() -> Image.Image:
    return Image.fromarray(np.array([[0, 257, 65535], [128, 129, 32896]], np.uint16))


def test_16_bit_grey_is_divided_by_257(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path / "a.png", grey16()))
    assert image[:, :, 0].tolist() == [[0, 1, 255], [0, 1, 128]]
    assert (image[:, :, 0:1] == image).all()
    assert read_header(tmp_path / "a.png").bits == 16


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb_of_the_same_colours(tmp_path: Path, mode: str) -> None:
    colour = (255, 255, 255) if mode in ("1", "L", "LA") else (200, 40, 90)
    plain = Image.new("RGB", (5, 3), colour)
    path = saved(
        tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), plain.convert(mode, palette=Image.Palette.ADAPTIVE)
    )
    image = read_image(path)
    assert image.shape == (3, 5, 3)
    assert np.abs(image.astype(int) - colour).max() <= 6


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (32, 32), (200, 40, 90)).convert("CMYK"), quality=100)
    assert np.abs(read_image(path).astype(int) - (200, 40, 90)).max() <= 6


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    clear = np.dstack([RGB, np.zeros((4, 6), np.uint8)])
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", Image.fromarray(clear))), RGB)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]
    assert read_header(path).frames == 2


def test_the_extension_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, format="PNG")
    np.testing.assert_array_equal(read_image(path), RGB)


def test_arrays_and_pil_images() -> None:
    np.testing.assert_array_equal(read_image(RGB), RGB)
    np.testing.assert_array_equal(read_image(RGB[:, :, 0]), np.repeat(RGB[:, :, :1], 3, axis=2))
    np.testing.assert_array_equal(read_image(Image.fromarray(RGB)), RGB)
    assert read_image(RGB[:, ::-1]).flags.c_contiguous


def message(source: object, **options: int) -> str:
    with pytest.raises(DataError) as caught:
        read_image(source, **options)
    return str(caught.value)


def test_missing_empty_and_foreign_files_are_named(tmp_path: Path) -> None:
    assert message(tmp_path / "x.jpg") == f"{tmp_path / 'x.jpg'}: no such image"
    assert message(str(tmp_path)) == f"{tmp_path}: is a folder, not an ordinary file (image)"
    (tmp_path / "e.jpg").touch()
    assert message(tmp_path / "e.jpg") == f"{tmp_path / 'e.jpg'}: the file is empty"
    (tmp_path / "t.jpg").write_text("hello, world")
    assert message(tmp_path / "t.jpg") == (
        f"{tmp_path / 't.jpg'}: not an image in a known format (it begins with b'hello, w')"
    )


@pytest.mark.parametrize(("suffix", "share"), [("jpg", 0.5), ("jpg", 0.98), ("png", 0.5), ("bmp", 0.5), ("gif", 0.5)])
def test_a_truncated_file_is_refused_and_never_half_grey(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert message(path).startswith(f"{path}: truncated or damaged: ")


def test_a_file_of_nothing_but_a_header_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(RGB))
    path.write_bytes(path.read_bytes()[:20])
    assert str(path) in message(path)


def test_a_png_that_its_decoder_cannot_be_made_for_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (4, 4)))
    header = bytearray(path.read_bytes())
    header[28] = 1  # interlaced, it says; Pillow raises TypeError
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(header))
    assert message(path).startswith(f"{path}: truncated or damaged: ")


def test_a_png_of_more_pixels_than_its_bytes_can_hold_is_told_before_it_is_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("1", (2000, 1600)))
    assert read_image(path).shape == (1600, 2000, 3)  # 400 kB of zeros
    size = path.stat().st_size
    header = bytearray(path.read_bytes())
    header[24] = 8
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(header))
    assert message(path) == f"{path}: truncated or damaged: {size:,} bytes cannot hold 2000 x 1600 px"


def test_exif_that_is_damaged_turns_no_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (24, 17)), exif=exif)
    data = bytearray(path.read_bytes())
    assert read_image(path).shape == (24, 17, 3)
    for at in range(data.index(b"Exif") + 6, data.index(b"Exif") + 32):  # its header, the tag, its type and value
        path.write_bytes(bytes([*data[:at], data[at] ^ 0x20, *data[at + 1 :]]))
        assert read_image(path).shape == (*read_header(path).size, 3)


def test_a_damaged_tag_of_a_tiff_warns_nobody(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(RGB), software="x" * 40)
    data = path.read_bytes()
    entry = data.index(b"\x31\x01\x02\x00")  # Software, text
    path.write_bytes(data[: entry + 4] + (10**6).to_bytes(4, "little") + data[entry + 8 :])  # longer than the file
    assert (read_image(path) == RGB).all()
    assert read_header(path).size == RGB.shape[:2]
    assert len(recwarn) == 0


def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("1", (400, 300)))
    assert message(path, max_pixels=100_000) == f"{path}: 400 x 300 px: over the limit of 100,000 pixels for one image"
    header = bytearray(path.read_bytes())
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(header))
    assert message(path) == f"{path}: more than 178,956,970 pixels: rejected as a decompression bomb"


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    assert message(path) == f"{path}: pixel format F is not supported: save the image as 8-bit RGB"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            np.zeros((2, 3, 4), np.uint8),
            "an image given as an array must be uint8 [H,W,3] RGB or uint8 [H,W] grey, not uint8 [2, 3, 4]",
        ),
        (
            np.zeros((2, 3, 3)),
            "an image given as an array must be uint8 [H,W,3] RGB or uint8 [H,W] grey, not float64 [2, 3, 3]",
        ),
        (np.zeros((0, 3, 3), np.uint8), "an image given as an array has no pixels: [0, 3, 3]"),
        (
            None,
            "an image is None: cv2.imread gives None where it cannot read the file, and says nothing; check the path, "
            "or give the path itself",
        ),
        (7, "cannot read an image from int: give a path, a URL, a PIL image or a uint8 array [H,W,3]"),
    ],
)
def test_other_objects_are_refused(source: NDArray[np.uint8] | int | None, expected: str) -> None:
    assert message(source) == expected


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    data = saved(tmp_path / "served.png", Image.fromarray(RGB)).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a.png" else 404)
            self.end_headers()
            self.wfile.write(data if self.path == "/a.png" else b"")

        def log_message(self, *_: object) -> None: ...

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_url_is_fetched(server: str) -> None:
    np.testing.assert_array_equal(read_image(f"{server}/a.png"), RGB)
    assert message(f"{server}/b.png") == f"{server}/b.png: cannot be fetched: the server answers 404 Not Found"


def test_an_unreachable_server_is_named() -> None:
    assert message("http://127.0.0.1:9/a.png").startswith("http://127.0.0.1:9/a.png: cannot be fetched: ")
