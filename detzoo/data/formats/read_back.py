"""A dataset that was written is read again and held against the one it was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset
from detzoo.data.formats.capabilities import Target, written_rows
from detzoo.data.formats.index import Index
from detzoo.data.formats.opening import list_splits, open_dataset
from detzoo.errors import DataError
from detzoo.ops.mask_encoding import NO_MASK, to_rle

_TOLERANCE: Final = 0.01  # px


@dataclass(frozen=True)
class WrittenImage:
    """An image that was written.

    Args:
        position: in its dataset.
        file: its name in the folder of the split.
        size: (height, width) px.
    """

    position: int
    file: str
    size: tuple[int, int]


def differences(
    splits: Mapping[str, Dataset], written: Mapping[str, Sequence[WrittenImage]], description: Path, target: Target
) -> list[str]:
    """What differs between datasets and what is read from the files that were made of them.

    Splits and their names, classes, images, boxes (to a hundredth of a px, within the image), labels, difficult, crowd
    and, in COCO, masks and LVIS's lists are compared.

    Args:
        splits: the datasets.
        written: their images that were written.
        description: the data.yaml.
        target: the format; what it cannot hold is not expected.
    """
    try:
        names = list_splits(description)
        if names != tuple(splits):
            return [f"the splits are {', '.join(names)}, not {', '.join(splits)}"]
        found: list[str] = []
        for name, data in splits.items():
            again = open_dataset(description, name, quiet=True)
            found += [f"{name}: {text}" for text in _of_a_split(data, again, written[name], target)]
        return found
    except DataError as error:
        return [str(error)]


def _of_a_split(data: Dataset, again: Dataset, written: Sequence[WrittenImage], target: Target) -> list[str]:
    if again.classes != data.classes:
        return [f"the classes are {', '.join(again.classes)}, not {', '.join(data.classes)}"]
    source, result = data.annotations(), again.annotations()
    position_of = {Path(result.path(at)).name: at for at in range(len(again))}
    if len(position_of) != len(written) or len(again) != len(written):
        return [f"{len(again)} images, not {len(written)}"]
    found = []
    for image in written:
        if image.file not in position_of:
            found.append(f"{image.file} is missing")
            continue
        rows = written_rows(source, image.position, target)
        same = result.rows(position_of[image.file])
        if target == "coco" and _looked_for(data, image.position) != _looked_for(again, position_of[image.file]):
            found.append(f"{image.file}: other classes were looked for")
        problem = _of_an_image((source, rows), (result, list(range(same.start, same.stop))), image.size, target)
        if problem is not None:
            found.append(f"{image.file}: {problem}")
    return found


def _looked_for(data: Dataset, position: int) -> dict[str, list[int]]:
    federated = data.annotations().federated
    return {} if federated is None else federated.image_keys(position, range(len(data.classes)))


def _of_an_image(
    source: tuple[Index, list[int]], result: tuple[Index, list[int]], size: tuple[int, int], target: Target
) -> str | None:
    (before, rows), (after, again) = source, result
    if len(rows) != len(again):
        return f"{len(again)} boxes, not {len(rows)}"
    moved = np.abs(_inside(before.boxes[rows], size) - _inside(after.boxes[again], size))
    if moved.size and moved.max() > _TOLERANCE:
        return f"a box has moved by {moved.max():.3g} px"
    compared = {
        "class": (before.labels, after.labels),
        "difficult flag": (before.difficult, after.difficult),
        "crowd flag": (before.crowd, after.crowd),
    }
    for name, (old, new) in compared.items():
        if (old[rows] != new[again]).any():
            return f"a box has another {name}"
    if target == "coco" and any(
        _mask(before, row, size) != _mask(after, other, size) for row, other in zip(rows, again, strict=True)
    ):
        return "a mask differs"
    return None


def _inside(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    height, width = size
    return np.clip(boxes.reshape(-1, 4), 0, [width, height, width, height])


def _mask(index: Index, row: int, size: tuple[int, int]) -> bytes | None:
    mask = index.mask(row)
    if mask == NO_MASK:
        return None
    counts: bytes = to_rle(mask, size)["counts"]
    return counts
