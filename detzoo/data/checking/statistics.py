"""What a dataset holds, in numbers; and anchor sizes that fit its boxes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.data.dataset import Dataset
from detzoo.data.groups import groups_line
from detzoo.errors import DataError
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import resized_size

_SHOWN_CLASSES: Final = 20
_SHOWN_REASONS: Final = 3


def summarise(data: Dataset) -> dict[str, Any]:
    """Counts and sizes of a split, ready for JSON."""
    index = data.annotations()
    sides = index.boxes[:, 2:] - index.boxes[:, :2]
    per_image = np.diff(index.ends, prepend=0)
    sizes, counts = np.unique(index.sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {
        "name": data.name,
        "split": data.split,
        "images": len(data),
        "boxes": len(index.labels),
        "images_without_objects": int((per_image == 0).sum()),
        "boxes_per_image": {
            "mean": round(float(per_image.mean()), 2) if len(per_image) else 0.0,
            "max": int(per_image.max(initial=0)),
        },
        "difficult": int(index.difficult.sum()),
        "crowd": int(index.crowd.sum()),
        "masks": index.has_masks,
        "groups": None if data.groups is None else len(set(data.groups)),
        "classes": {
            name: int(count)
            for name, count in zip(data.classes, np.bincount(index.labels, minlength=len(data.classes)), strict=True)
        },
        "box_side_px": _quantiles(np.sqrt(sides.prod(axis=1))),
        "image_sizes": [[int(sizes[row][0]), int(sizes[row][1]), int(counts[row])] for row in order[:5]],
        "left_out": sum(problem.severity == "error" for problem in data.problems),
    }


def boxes_by_class(splits: Sequence[Dataset]) -> Counter[str]:
    """The number of boxes of each class, over splits."""
    counts: Counter[str] = Counter()
    for data in splits:
        found = np.bincount(data.annotations().labels, minlength=len(data.classes))
        counts.update({name: int(count) for name, count in zip(data.classes, found, strict=True)})
    return counts


def opening_lines(data: Dataset, *, use: str = "") -> list[str]:
    """What enters a training or an evaluation: images, boxes of each class, and the classes without a box.

    Args:
        data: that is learned from or evaluated on.
        use: what it is used for, put at the end of the first line.
    """
    index = data.annotations()
    counts = np.bincount(index.labels, minlength=len(data.classes))
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
    shown = ", ".join(f"{data.classes[label]} {counts[label]}" for label in order[:_SHOWN_CLASSES])
    more = f" and {len(order) - _SHOWN_CLASSES} more classes" if len(order) > _SHOWN_CLASSES else ""
    apart = [f"{int(flags.sum())} {name}" for name, flags in _flags(data).items() if flags.any()]
    boxes = f"{len(index.labels)} boxes{f' ({shown}{more})' if shown else ''}"
    lines = [f"{data.split}: {len(data)} images, {', '.join([boxes, *apart])}{f'; {use}' if use else ''}"]
    unseen = [name for name, count in zip(data.classes, counts, strict=True) if not count]
    if unseen:
        noun = "class" if len(unseen) == 1 else "classes"
        named = ", ".join(unseen[:_SHOWN_CLASSES]) + (" ..." if len(unseen) > _SHOWN_CLASSES else "")
        lines.append(f"{data.split}: {len(unseen)} {noun} without a box: {named}")
    if index.federated is not None:
        lines.append(f"{data.split}: federated (LVIS): only some classes were looked for in each image")
    if data.groups is not None:
        lines.append(f"{data.split}: {groups_line(data.groups)}")
    return lines


def _flags(data: Dataset) -> dict[str, NDArray[np.bool_]]:
    index = data.annotations()
    return {"difficult": index.difficult, "crowd": index.crowd}


def reject_without_boxes(data: Dataset, left_out: NDArray[np.bool_], *, why: str, next_step: str) -> None:
    """Reject data in which no box is left.

    Args:
        data: that would be used.
        left_out: bool [T], the boxes that do not count.
        why: they do not.
        next_step: what the user can do.

    Raises:
        DataError: there is no box that counts.
    """
    if len(left_out) and not left_out.all():
        return
    reasons = [f"{len(left_out)} boxes, but {why}"] if len(left_out) else []
    first = {
        problem.code: problem for problem in reversed(data.problems) if problem.code not in ("no-objects", "guess")
    }
    reasons += [f"{problem.path}: {problem.message}" for problem in first.values()]
    said = f" ({'; '.join(reasons[:_SHOWN_REASONS])})" if reasons else ""
    raise DataError(f"{data.name} {data.split}: none of {len(data)} images has a box to {next_step}{said}")


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    if len(values) == 0:
        return {}
    names = {"min": 0, "p10": 10, "median": 50, "p90": 90, "max": 100}
    return {name: round(float(np.percentile(values, share)), 1) for name, share in names.items()}


def box_sides(data: Dataset, size: tuple[int, int] | None) -> NDArray[np.float64]:
    """float64 [T,2] (height, width) of all boxes: in px, or in network px after stretching to ``size``."""
    index = data.annotations()
    sides = (index.boxes[:, 2:] - index.boxes[:, :2])[:, ::-1]
    if size is None:
        return np.ascontiguousarray(sides)
    spec = InputSpec(size=size)
    scale = np.ones((len(index), 2))
    for position, (height, width) in enumerate(index.sizes):
        if height and width:
            new = resized_size(int(height), int(width), spec)
            scale[position] = new[0] / height, new[1] / width
    return np.asarray(sides * np.repeat(scale, np.diff(index.ends, prepend=0), axis=0))


def cluster_sides(
    sides: NDArray[np.float64], count: int, *, seed: int = 0, rounds: int = 300
) -> tuple[NDArray[np.float64], float]:
    """Anchor sizes by k-means under the distance 1 - IoU of boxes with a common corner.

    Args:
        sides: float64 [T,2] (height, width) px.
        count: anchors wanted.
        seed: of the first choice.
        rounds: at most.

    Returns:
        float64 [count,2] (height, width) px by area, and the mean IoU of each box with its best anchor.

    Source: YOLO9000 (arXiv:1612.08242), section 2, "Dimension Clusters"; medians are used for means, which is the
    more stable under IoU.
    """
    different = np.unique(sides, axis=0)
    if len(different) < count:
        raise DataError(f"{count} anchors need at least {count} different boxes; there are {len(different)}")
    anchors = different[np.random.default_rng(seed).choice(len(different), count, replace=False)]
    nearest = np.full(len(sides), -1)
    for _ in range(rounds):
        found = corner_iou(sides, anchors).argmax(axis=1)
        if (found == nearest).all():
            break
        nearest = found
        for row in range(count):
            if (nearest == row).any():
                anchors[row] = np.median(sides[nearest == row], axis=0)
    anchors = anchors[np.argsort(anchors.prod(axis=1))]
    return anchors, float(corner_iou(sides, anchors).max(axis=1).mean())


def corner_iou(sides: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU [T,A] of boxes and anchors given by (height, width), laid on a common corner."""
    common = np.minimum(sides[:, None], anchors[None]).prod(axis=2)
    return np.asarray(common / (sides.prod(axis=1)[:, None] + anchors.prod(axis=1) - common))
