"""What each format that is written can hold of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, cast, get_args

import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset
from detzoo.data.formats.index import Index
from detzoo.errors import DataError

Target: TypeAlias = Literal["coco", "voc", "yolo"]


def target_of(name: str) -> Target:
    """The format that a user named."""
    if name not in get_args(Target):
        raise DataError(f"cannot write {name!r}; choose one of {', '.join(get_args(Target))}")
    return cast("Target", name)


def losses(splits: Mapping[str, Dataset], target: Target) -> list[str]:
    """What a format cannot hold of some splits, counted."""
    found = [f"{name}: {text}" for name, data in splits.items() for text in _losses(data.annotations(), target)]
    grouped = [name for name, data in splits.items() if data.groups is not None]
    return found + [f"{name}: groups of images (`groups:` of a data.yaml says them again)" for name in grouped]


def _losses(index: Index, target: Target) -> list[str]:
    """What a format cannot say, for a message."""
    if target == "coco":
        return []
    left = []
    if index.federated is not None:
        left.append(f"which classes were looked for in each image (LVIS; {target} cannot say it)")
    if index.crowd.any():
        left.append(f"{int(index.crowd.sum())} crowd regions ({target} has none)")
    difficult = index.difficult & ~index.crowd
    if target == "voc" and (narrow := int((_too_narrow(index.boxes) & ~index.crowd).sum())):
        left.append(f"{narrow} boxes of 1 px or less (voc's corners are both inside the box)")
    if target == "yolo" and difficult.any():
        left.append(f"{int(difficult.sum())} difficult boxes (yolo has no such flag)")
    if index.has_masks:
        kept = int((np.diff(index.mask_ends, prepend=0) > 0).sum())
        left.append(f"{kept} masks ({target} is written with boxes only)")
    return left


def written_rows(index: Index, position: int, target: Target) -> list[int]:
    """Rows of the boxes of an image that a format can hold; see ``losses``."""
    rows = range(index.rows(position).start, index.rows(position).stop)
    if target == "coco":
        return list(rows)
    lost = (index.crowd | index.difficult if target == "yolo" else index.crowd)[rows.start : rows.stop]
    if target == "voc":
        lost = lost | _too_narrow(index.boxes[rows.start : rows.stop])
    return [row for row, left in zip(rows, lost, strict=True) if not left]


def voc_corners(box: NDArray[np.float64]) -> tuple[str, str, str, str]:
    """A box xyxy in px as VOC writes it: 1-based, both corners inside; the inverse of ``coordinates: subtract_min``."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return f"{x1 + 1:.10g}", f"{y1 + 1:.10g}", f"{x2:.10g}", f"{y2:.10g}"


def _too_narrow(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Boxes [N,4] whose corners in VOC would coincide or change places: readers take those for mistakes."""
    corners = np.array([voc_corners(box) for box in boxes], np.float64).reshape(-1, 4)
    return (corners[:, 0] >= corners[:, 2]) | (corners[:, 1] >= corners[:, 3])
