"""Masks as bytes in the index, decoded when a sample is read: polygons, COCO RLE, or a PNG file of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DataError
from detzoo.runtime.images import raw_values, read_bytes

NO_MASK: Final = b""
# the first byte says what follows
_POLYGONS, _RLE, _FILE = b"p", b"r", b"f"
_MOST_STEPS: Final = 4_000_000
"""Px of the outlines of one mask, for each of which pycocotools takes about 100 bytes."""
_FARTHEST: Final = 1e12
"""Px at which points are clipped first, so that differences of two stay finite."""


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


def mask_area(data: bytes, size: tuple[int, int]) -> float | None:
    """Area in px of an encoded mask within its image, without drawing it; None where only drawing would tell.

    Of polygons it is the area of each part, overlaps counted twice; of run lengths the number of pixels.

    Raises:
        DataError: the run lengths are damaged.
    """
    if data[:1] == _POLYGONS:
        return sum(_polygon_area(part, size) for part in decode_polygons(data) if len(part) >= 6)
    if data[:1] != _RLE:
        return None
    stored, counts = json.loads(data[1:])
    runs = unpack_counts(counts.encode(), stored[0] * stored[1]) if isinstance(counts, str) else np.array(counts)
    return float(runs[1::2].sum())


def _polygon_area(part: list[float], size: tuple[int, int]) -> float:
    """The shoelace formula, of what lies in the image."""
    xs, ys = np.reshape(part, (-1, 2)).T
    if min(part) < 0 or xs.max() > size[1] or ys.max() > size[0]:
        xs, ys = np.reshape(_clipped(part, size, 0), (-1, 2)).T
    return abs(float((xs * np.roll(ys, -1) - np.roll(xs, -1) * ys).sum())) / 2


def decode_counts(counts: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H,W] of COCO's compressed run lengths; pycocotools' own decoder warns under NumPy 2.

    Raises:
        DataError: the run lengths are damaged.
    """
    runs = unpack_counts(counts, size[0] * size[1])
    pixels = np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8)
    return np.ascontiguousarray(pixels.reshape(size, order="F"))  # COCO counts down the columns


def unpack_counts(counts: bytes, pixels: int) -> NDArray[np.int64]:
    """Run lengths of COCO's compressed counts, checked: pycocotools itself reads beyond the end of cut ones.

    Args:
        counts: the compressed counts.
        pixels: of the mask, which the runs must fill.

    Raises:
        DataError: another letter, a cut end, a negative run, or another sum.

    Source: cocoapi, maskApi.c ``rleFrString``: base 48, 5 bits a byte, bit 5 says that more follow; from the fourth run
    on the difference to the run before the last is stored.
    """
    values = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if len(values) == 0 or values.min() < 0 or values.max() > 63:
        raise DataError("the compressed run lengths are empty, or hold letters that stand for none")
    ends = np.flatnonzero(values < 32)  # bit 5 is not set: the last byte of its number
    if values[-1] >= 32:
        raise DataError("the compressed run lengths are cut short")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(values)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 7:  # 40 bits: more than any mask needs
        raise DataError("the compressed run lengths hold a number that is too large")
    runs = np.add.reduceat((values & 31) << (5 * place), starts)
    negative = (values[ends] & 16) > 0  # bit 4 of the last byte is the sign
    runs[negative] -= np.int64(1) << (5 * (ends - starts + 1)[negative])
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    if runs.min() < 0 or int(runs.sum()) != pixels:
        raise DataError(f"the run lengths add up to {int(runs.sum())}, the mask has {pixels} px")
    return runs


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
        parts = _drawable(decode_polygons(data), size)
        if parts:
            rles = coco_mask.frPyObjects(parts, height, width)  # one per part: an object may be cut in two
            merged: dict[str, Any] = coco_mask.merge(rles)
            return merged
        return cast("dict[str, Any]", coco_mask.encode(np.zeros(size, np.uint8, order="F")))
    if data[:1] == _RLE:
        stored, counts = json.loads(data[1:])
        if tuple(stored) != size:
            raise DataError(f"a mask of {stored[1]} x {stored[0]} px lies on an image of {width} x {height} px")
        if isinstance(counts, str):
            unpack_counts(counts.encode(), height * width)
            return {"size": stored, "counts": counts.encode()}
        packed: dict[str, Any] = coco_mask.frPyObjects({"size": stored, "counts": counts}, stored[0], stored[1])
        return packed
    # pycocotools reads columns only
    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(decode_mask(data, size)))
    return encoded


def _drawable(parts: list[list[float]], size: tuple[int, int]) -> list[list[float]]:
    """Polygons that pycocotools can rasterise: those that reach far beyond the image are clipped around it.

    It walks along every outline, five steps per px, also where nobody sees it. Polygons within one image size around
    the image are given as they are, so that their masks are pycocotools' own to the pixel.

    Raises:
        DataError: the outlines are longer than memory allows.
    """
    margin = max(size)
    done, steps = [], 0.0
    for part in parts:
        if len(part) < 6:
            continue
        far = min(part) < -margin or max(part) > min(size) + margin
        inside = _clipped(part, size, margin) if far else part
        if len(inside) >= 6:
            done.append(inside)
            steps += len(inside) / 2 * (max(inside) - min(inside))
    if steps > _MOST_STEPS:  # no outline is longer than this; only many long zigzags come near
        lengths = [np.abs(np.diff(np.reshape(part, (-1, 2)), axis=0)).max(axis=1).sum() for part in done]
        if sum(lengths) > _MOST_STEPS:
            raise DataError(f"a mask's outline is {sum(lengths):.3g} px long: more than {_MOST_STEPS:,}")
    return done


def _clipped(part: list[float], size: tuple[int, int], margin: float) -> list[float]:
    """A polygon cut at a frame around the image (Sutherland and Hodgman); its pixels in the image stay."""
    points = np.clip(np.reshape(part, (-1, 2)), -_FARTHEST, _FARTHEST)
    for axis, sign, limit in ((0, -1, margin), (1, -1, margin), (0, 1, size[1] + margin), (1, 1, size[0] + margin)):
        if len(points) == 0:
            break
        following = np.roll(points, -1, axis=0)
        beyond = sign * points[:, axis] - limit
        after = np.roll(beyond, -1)
        crossing = (beyond > 0) != (after > 0)
        share = np.divide(beyond, beyond - after, out=np.zeros_like(beyond), where=crossing)
        met = points + share[:, None] * (following - points)
        met[:, axis] = sign * limit
        both = np.stack([points, met], axis=1).reshape(-1, 2)
        points = both[np.stack([beyond <= 0, crossing], axis=1).ravel()]
    return [float(value) for value in points.ravel()]


def is_polygons(data: bytes) -> bool:
    """Whether an encoded mask is one of polygons."""
    return data[:1] == _POLYGONS


def decode_polygons(data: bytes) -> list[list[float]]:
    """The parts that ``encode_polygons`` was given."""
    count = int(np.frombuffer(data, np.int64, 1, 1)[0])
    lengths = np.frombuffer(data, np.int64, count, 9)  # 1 byte of kind, 8 of the count
    points = np.frombuffer(data, np.float64, -1, 9 + 8 * count)
    return [part.tolist() for part in np.split(points, np.cumsum(lengths)[:-1])]


def read_mask_values(path: Path | str) -> NDArray[np.int64]:
    """Raw values [H,W] of a one-channel image: palette indices, grey values; first channel of a colour image."""
    try:
        values = raw_values(read_bytes(Path(path)), str(path))
    except DataError as error:
        raise DataError(f"{path}: the mask cannot be read: {str(error).removeprefix(f'{path}: ')}") from None
    return values if values.ndim == 2 else values[:, :, 0]  # grey masks are at times saved as RGB


def _read_mask_file(path: str, value: int | None) -> NDArray[np.uint8]:
    values = read_mask_values(path)
    return np.asarray(values != 0 if value is None else values == value, np.uint8)
