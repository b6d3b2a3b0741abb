"""COCO's ``segmentation`` values, checked before any of pycocotools' C code sees them.

pycocotools trusts what it is given: a far point or a run length of 1e9 fills the memory or ends the process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, encode_polygons, encode_rle, to_rle, unpack_counts
from detzoo.runtime.images import MAX_PIXELS


def encode_segmentation(value: Any, size: tuple[int, int]) -> bytes:
    """A value from a file, encoded as the index keeps it; ``NO_MASK`` where it says that there is none.

    Polygons of less than three points enclose nothing and are left out.

    Args:
        value: list of polygons, one flat polygon, or run lengths {size, counts}, compressed or not.
        size: (height, width) of its image; 0 where unknown.

    Raises:
        DataError: what is wrong, without a place.
    """
    if value is None or value == []:
        return NO_MASK
    if isinstance(value, list):
        flat = [value] if not any(isinstance(part, list) for part in value) else value
        parts = [polygon for part in flat if len(polygon := _polygon(part)) >= 6]
        return encode_polygons(parts) if parts else NO_MASK
    if isinstance(value, dict):
        return _run_lengths(value, size)
    raise DataError("the segmentation is neither polygons nor run lengths")


def _polygon(part: Any) -> list[float]:
    if not isinstance(part, list) or not set(map(type, part)) <= {int, float}:
        raise DataError("the polygons must be lists of numbers x, y, x, y, ...")
    if len(part) % 2:
        raise DataError(f"a polygon of {len(part)} numbers: x and y must come in pairs")
    try:
        fine = math.isfinite(sum(part)) or all(map(math.isfinite, part))
    except OverflowError:  # whole numbers of hundreds of digits
        fine = False
    if not fine:
        raise DataError("a polygon holds a number that is not finite")
    return part


def _run_lengths(value: dict[str, Any], size: tuple[int, int]) -> bytes:
    stated, counts = value.get("size"), value.get("counts")
    if not isinstance(stated, list) or len(stated) != 2 or not all(type(side) is int and side > 0 for side in stated):
        raise DataError("the run lengths need a size [height, width] of two whole numbers")
    height, width = stated
    if all(size) and (height, width) != size:
        swapped = " (height and width are swapped)" if (width, height) == size else ""
        raise DataError(f"the mask is {_px(width)} x {_px(height)} px, its image {size[1]} x {size[0]} px{swapped}")
    if height * width > MAX_PIXELS:
        raise DataError(f"a mask of {_px(width)} x {_px(height)} px is larger than any image that is read")
    return encode_rle(_checked_counts(counts, height * width), (height, width))


def _checked_counts(counts: Any, pixels: int) -> str | list[int]:
    if isinstance(counts, str):
        unpack_counts(counts.encode("utf-8", "replace"), pixels)
        return counts
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int} or min(counts, default=0) < 0:
        raise DataError("the run lengths must be text, or a list of whole numbers from 0 on")
    if sum(counts) != pixels:
        raise DataError(f"the run lengths add up to {_px(sum(counts))}, the mask has {pixels} px")
    return counts


def _px(number: int) -> str:
    return str(number) if number < 10**12 else f"{number:.1e}" if number < 10**300 else "more than 1e300"


def extent(parts: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Box xyxy px around polygons; there must be some."""
    return (
        float(min(min(part[0::2]) for part in parts)),
        float(min(min(part[1::2]) for part in parts)),
        float(max(max(part[0::2]) for part in parts)),
        float(max(max(part[1::2]) for part in parts)),
    )


def pack_segmentation(value: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A value from a file as compressed run lengths {size, counts: text} of an image of ``size``.

    Raises:
        DataError: what is wrong, without a place.
    """
    if isinstance(value, dict) and value.get("size") == list(size) and isinstance(value.get("counts"), str):
        return {"size": list(size), "counts": _checked_counts(value["counts"], size[0] * size[1])}
    rle = to_rle(encode_segmentation(value, size), size)
    counts = rle["counts"]
    return {"size": list(size), "counts": counts.decode() if isinstance(counts, bytes) else counts}
