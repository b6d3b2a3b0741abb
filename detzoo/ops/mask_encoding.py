"""Masks as bytes in the index, decoded when a sample is read: polygons, COCO RLE, or a PNG file of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError

NO_MASK: Final = b""
# the first byte says what follows
_POLYGONS, _RLE, _FILE = b"p", b"r", b"f"


def encode_polygons(parts: Sequence[Sequence[float]]) -> bytes:
    """Polygons in px (x, y, x, y, ...): float64, so that they rasterise as pycocotools does from the file."""
    lengths = np.array([len(part) for part in parts], np.int64)
    points = np.array([value for part in parts for value in part], np.float64)
    return _POLYGONS + np.int64(len(parts)).tobytes() + lengths.tobytes() + points.tobytes()


def encode_rle(counts: str | Sequence[int], size: Sequence[int]) -> bytes:
    """COCO run lengths, compressed or not, of a mask of ``size`` (height, width)."""
    return _RLE + json.dumps([list(size), counts if isinstance(counts, str) else list(counts)]).encode()


def encode_file(path: str, value: int | None = None) -> bytes:
    """An image file: the mask is where it is not 0, or where it equals ``value``."""
    return _FILE + json.dumps([path, value]).encode()


def decode_mask(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H,W] of 0 and 1; zeros for ``NO_MASK``.

    Raises:
        DataError: the mask has another size than its image, or cannot be read.
    """
    if not data:
        return np.zeros(size, np.uint8)
    if data[:1] == _FILE:
        path, value = json.loads(data[1:])
        mask = _read_mask_file(path, value)
    else:
        rle = to_rle(data, size)
        mask = decode_counts(rle["counts"], (rle["size"][0], rle["size"][1]))
    if mask.shape != size:
        raise DataError(f"a mask of {mask.shape[1]} x {mask.shape[0]} px lies on an image of {size[1]} x {size[0]} px")
    return mask


def decode_counts(counts: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H,W] of COCO's compressed run lengths; pycocotools' own decoder warns under NumPy 2.

    Source: cocoapi, maskApi.c ``rleFrString``: base 48, 5 bits a byte, bit 5 says that more follow; from the third run
    on the difference to the run before the last is stored.
    """
    runs: list[int] = []
    at = 0
    while at < len(counts):
        value, shift, more = 0, 0, True
        while more:
            byte = counts[at] - 48
            value |= (byte & 0x1F) << shift
            more = bool(byte & 0x20)
            at, shift = at + 1, shift + 5
            if not more and byte & 0x10:  # bit 4 of the last group is the sign
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    # NumPy's own error would not say that it is a mask
    if any(run < 0 for run in runs) or sum(runs) != size[0] * size[1]:
        raise DataError(f"a mask's run lengths do not fill {size[1]} x {size[0]} px")
    pixels = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(size, order="F"))  # COCO counts down the columns


def run_lengths(masks: NDArray[Any]) -> list[dict[str, Any]]:
    """COCO's compressed run lengths of masks, as text that JSON can hold.

    Only the columns that a mask touches are read closely: 100 small masks on 4,000 px take as long as on 400 px.

    Args:
        masks: bool, or uint8 of 0 and 1, [D,H,W].

    Returns:
        {size: [height, width], counts: text} of each; the same bytes as pycocotools' ``encode``.
    """
    return [_run_lengths(mask) for mask in masks]


def _run_lengths(mask: NDArray[Any]) -> dict[str, Any]:
    # deferred: only masks need pycocotools
    from pycocotools import mask as coco_mask

    height, width = mask.shape
    mask = np.ascontiguousarray(mask).view(np.uint8)
    left, _, columns, _ = cv2.boundingRect(mask) if mask.size else (0, 0, 0, 0)
    strip = mask[:, left : left + columns].ravel(order="F")  # column by column, as COCO counts
    turns = np.flatnonzero(strip[1:] != strip[:-1]) + (1 + left * height)
    if strip.size and strip[0]:  # the first run is of zeros, and may be 0 long
        turns = np.concatenate([[left * height], turns])
    end = (left + columns) * height
    if strip.size and strip[-1] and end < height * width:  # the strip ends before the image does
        turns = np.concatenate([turns, [end]])
    counts = np.diff(turns, prepend=0, append=height * width).tolist()
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def to_rle(data: bytes, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed run lengths {size, counts: bytes} of an encoded mask."""
    from pycocotools import mask as coco_mask

    height, width = size
    if data[:1] == _POLYGONS:
        rles = coco_mask.frPyObjects(decode_polygons(data), height, width)  # one per part: an object may be cut in two
        merged: dict[str, Any] = coco_mask.merge(rles)
        return merged
    if data[:1] == _RLE:
        stored, counts = json.loads(data[1:])
        if isinstance(counts, str):
            return {"size": stored, "counts": counts.encode()}
        packed: dict[str, Any] = coco_mask.frPyObjects({"size": stored, "counts": counts}, stored[0], stored[1])
        return packed
    # pycocotools reads columns only
    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(decode_mask(data, size)))
    return encoded


def decode_polygons(data: bytes) -> list[list[float]]:
    """The parts that ``encode_polygons`` was given."""
    count = int(np.frombuffer(data, np.int64, 1, 1)[0])
    lengths = np.frombuffer(data, np.int64, count, 9)  # 1 byte of kind, 8 of the count
    points = np.frombuffer(data, np.float64, -1, 9 + 8 * count)
    return [part.tolist() for part in np.split(points, np.cumsum(lengths)[:-1])]


def read_mask_values(path: Path | str) -> NDArray[np.int64]:
    """Raw values [H,W] of a one-channel image: palette indices, grey values; first channel of a colour image."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            values = np.asarray(opened).astype(np.int64)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: the mask cannot be read: {error}") from None
    return values if values.ndim == 2 else values[:, :, 0]  # grey masks are at times saved as RGB


def _read_mask_file(path: str, value: int | None) -> NDArray[np.uint8]:
    values = read_mask_values(path)
    return np.asarray(values != 0 if value is None else values == value, np.uint8)
