"""Reading images: any file that people really have -> uint8 [H,W,3] RGB, upright.

OpenCV decodes ordinary JPEGs (it is the faster and gives the same bytes); Pillow reads the header of every file and
decodes all that OpenCV gets wrong or reads silently when it is cut short: CMYK, palette, 16-bit, truncated files.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from detzoo.errors import DataError
from detzoo.runtime.bit_depth import bits_used, reduce_to_8_bits
from detzoo.runtime.contiguous import contiguous
from detzoo.runtime.foreign_files import read_file
from detzoo.runtime.image_download import download_image

MAX_PIXELS: Final = 178_956_970
"""Images beyond this are rejected as decompression bombs (Pillow's own limit for an error: 512 MiB of RGB)."""
MAX_FILE_BYTES: Final = 2**30 + 2**20
"""Of an image file: 16-bit RGB of MAX_PIXELS, not compressed."""
ORIENTATION_TAG: Final = 0x0112
SUFFIXES: Final = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".j2k",
    ".ppm", ".pgm", ".pbm", ".pnm",
})  # fmt: skip
"""File endings that are taken for images when a folder is searched."""
_EIGHT_BIT: Final = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
)

_TURNED: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation."""

_SAMPLES: Final = {2: 3, 4: 2, 6: 4}
"""Per pixel, by PNG's colour types: RGB, grey and alpha, RGBA; others have one."""
_DEFLATED: Final = 1032
"""Bytes that one byte of PNG's compression (deflate) makes at most."""
_HEADER: Final = "the header is damaged"
_DAMAGE: Final = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, AttributeError, ArithmeticError, RuntimeError,
    struct.error, zlib.error, cv2.error,
)  # fmt: skip
"""What Pillow and OpenCV raise of damaged files, whichever of their decoders notices it."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file says about itself before it is decoded.

    Args:
        format: ``JPEG``, ``PNG``, ...
        mode: Pillow's name of the pixel format: ``RGB``, ``L``, ``RGBA``, ``P``, ``CMYK``, ``I;16``, ...
        size: (height, width) px as shown, EXIF orientation applied.
        orientation: EXIF orientation 1..8; 1 is upright.
        frames: images in the file; only the first is read.
        bits: per channel; Pillow reads 16-bit colour as 8-bit, so PNG's own header is asked.
    """

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    frames: int = 1
    bits: int = 8


def is_url(source: object) -> bool:
    """Whether ``source`` is an http(s) address."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def read_image(source: Any, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read one image.

    Grey and palette images become RGB, 16-bit values are reduced to 8 bits (see ``detzoo.runtime.bit_depth``),
    transparency is dropped (not blended), of an animation the first frame is taken.

    Args:
        source: path, http(s) URL, PIL image, or array: uint8 [H,W,3] RGB or [H,W] grey.
        max_pixels: larger images are rejected.

    Returns:
        uint8 [H,W,3] RGB, C-contiguous, EXIF orientation applied.

    Raises:
        DataError: the image is missing, truncated, too large or not an image; the message names it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "the PIL image", max_pixels)
    if is_url(source):
        return decode_image(download_image(str(source)), str(source), max_pixels=max_pixels)
    if source is None:
        raise DataError(
            "an image is None: cv2.imread gives None where it cannot read the file, and says nothing; check the path, "
            "or give the path itself"
        )
    if not isinstance(source, str | Path):
        raise DataError(
            f"cannot read an image from {type(source).__name__}: "
            "give a path, a URL, a PIL image or a uint8 array [H,W,3]"
        )
    return decode_image(read_bytes(Path(source)), str(source), max_pixels=max_pixels)


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or a DataError that names it."""
    data = read_file(path, limit=MAX_FILE_BYTES, what="image")
    if not data:
        raise DataError(f"{path}: the file is empty")
    return data


def decode_image(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, upright: bool = True) -> NDArray[np.uint8]:
    """Decode the bytes of an image file, as ``read_image`` does.

    Args:
        data: the file.
        name: for messages.
        max_pixels: larger images are rejected.
        upright: apply EXIF orientation; False gives the pixels as they lie in the file.

    Returns:
        uint8 [H,W,3] RGB.
    """
    with _open(data, name) as opened:
        _check_size(opened.size, name, max_pixels)  # before decoding: the header tells the size
        # A JPEG without its end mark is cut short: OpenCV would fill the rest with grey and say nothing.
        orientation = _orientation(opened) if upright else 1  # by Pillow alone: OpenCV reads damaged EXIF otherwise
        if opened.format == "JPEG" and opened.mode == "RGB" and data.rstrip(b"\0\n\r ").endswith(b"\xff\xd9"):
            flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
            with _decoding(name):
                decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
            if decoded is not None:
                return _upright(np.asarray(decoded, np.uint8), orientation)
        deep = _is_deep_colour(opened)
        image = _from_pil(opened, name, max_pixels, upright)  # rejects what is damaged
        return _dark_colour(data, name, orientation, image) if deep else image


@contextlib.contextmanager
def _decoding(name: str, what: str = "truncated or damaged") -> Iterator[None]:
    """Errors of decoders are told as ours; their warnings tell a reader nothing that he can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Image.DecompressionBombError:
            raise DataError(f"{name}: more than {MAX_PIXELS:,} pixels: rejected as a decompression bomb") from None
        except _DAMAGE as error:
            raise DataError(f"{name}: {what}: {error}") from None


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether a colour image has 16 bits per channel, of which Pillow reads the upper 8."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return image.mode in _EIGHT_BIT and any(";16" in str(tile[3]) for tile in tiles)


def _dark_colour(data: bytes, name: str, orientation: int, read: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 16-bit colour image scaled by the bits that it uses; as Pillow has read it where it uses all."""
    values = _stored(data, name)
    if values is None or values.dtype != np.uint16 or bits_used(int(values[..., :3].max(initial=0))) == 16:
        return read
    colours = values[:, :, 2::-1] if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)
    return _upright(reduce_to_8_bits(colours, name), orientation)


def _stored(data: bytes, name: str) -> NDArray[Any] | None:
    """What OpenCV reads, of the file's own depth; None where it reads nothing."""
    with _decoding(name):
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def bits_in_use(data: bytes, name: str) -> int:
    """The bits per channel, of 16, that the values of an image use: see ``detzoo.runtime.bit_depth``; 8 for others.

    Raises:
        DataError: the image is damaged.
    """
    with _open(data, name) as opened:
        if _is_deep_colour(opened):
            values = _stored(data, name)
            return 8 if values is None else bits_used(int(values[..., :3].max(initial=0)))
        return bits_used(int(raw_values(data, name).max(initial=0))) if opened.mode.startswith("I") else 8


def raw_values(data: bytes, name: str) -> NDArray[np.int64]:
    """Values of an image file as they are stored: palette indices, grey values, colours [H,W] or [H,W,C].

    Raises:
        DataError: the file is damaged or too large.
    """
    with _open(data, name) as opened, _decoding(name):
        _check_size(opened.size, name, MAX_PIXELS)
        return np.asarray(opened).astype(np.int64)


def read_header(path: Path) -> ImageHeader:
    """Format, mode and size of an image without decoding it.

    Raises:
        DataError: the file is missing or not an image.
    """
    return header_of(read_bytes(path), str(path))


def header_of(data: bytes, name: str) -> ImageHeader:
    """``read_header`` for bytes in memory; ``name`` is for messages."""
    with _open(data, name) as opened, _decoding(name, _HEADER):
        orientation = _orientation(opened)
        width, height = opened.size
        size = (width, height) if orientation >= 5 else (height, width)  # 5 to 8 are turned by 90 degrees
        frames = getattr(opened, "n_frames", 1)
        # IHDR's bit depth
        deep = opened.mode.startswith("I") or _is_deep_colour(opened)
        bits = data[24] if opened.format == "PNG" and len(data) > 24 else 16 if deep else 8
        return ImageHeader(opened.format or "?", opened.mode, size, orientation, frames, bits)


def _open(data: bytes, name: str) -> Image.Image:
    with _decoding(name, _HEADER):
        try:
            image = Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            raise DataError(f"{name}: not an image in a known format (it begins with {data[:8]!r})") from None
        if image.format == "PNG":
            _check_png(data, image.size, name)
        return image


def _check_png(data: bytes, size: tuple[int, int], name: str) -> None:
    """Pillow fills the rows that are not there with black; and many of them are a bomb."""
    width, height = size
    row = width * data[24] * _SAMPLES.get(data[25], 1) // 8  # IHDR: bits per sample, colour type
    if height * row > len(data) * _DEFLATED:
        raise DataError(f"{name}: truncated or damaged: {len(data):,} bytes cannot hold {width} x {height} px")


def _orientation(image: Image.Image) -> int:
    with warnings.catch_warnings(), contextlib.suppress(*_DAMAGE):  # damaged EXIF says nothing; the pixels may be fine
        warnings.simplefilter("ignore")
        value = image.getexif().get(ORIENTATION_TAG, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1
    return 1


def _from_pil(image: Image.Image, name: str, max_pixels: int, upright: bool = True) -> NDArray[np.uint8]:
    _check_size(image.size, name, max_pixels)
    orientation = _orientation(image) if upright else 1
    with _decoding(name):
        image.load()
        return _upright(_to_rgb(image, name), orientation)


def _upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    turned = Image.fromarray(image).transpose(_TURNED[orientation]) if orientation > 1 else image
    return np.ascontiguousarray(turned)


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    if image.mode in _EIGHT_BIT:
        if image.mode in {"LAB", "HSV"}:
            image = image.convert("RGB")
        # RGBA to RGB drops alpha; blending would invent colours that the file does not hold.
        return np.array(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError(f"{name}: 32-bit grey values {values.min()}..{values.max()}: save the image as 8 or 16 bit")
        return np.repeat(reduce_to_8_bits(values, name)[:, :, None], 3, axis=2)
    raise DataError(f"{name}: pixel format {image.mode} is not supported: save the image as 8-bit RGB")


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise DataError(
            f"an image given as an array must be uint8 [H,W,3] RGB or uint8 [H,W] grey, "
            f"not {array.dtype} {list(array.shape)}"
        )
    if 0 in array.shape:
        raise DataError(f"an image given as an array has no pixels: {list(array.shape)}")
    return contiguous(array)


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise DataError(f"{name}: {width} x {height} px: the image is empty")
    if width * height > max_pixels:
        raise DataError(f"{name}: {width} x {height} px: over the limit of {max_pixels:,} pixels for one image")
