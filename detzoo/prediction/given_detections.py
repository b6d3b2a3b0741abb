"""Detections from the values of other tools: checked, clipped to their image, best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.errors import DetzooError

if TYPE_CHECKING:
    from detzoo.prediction.detections import Detections


def detections_of(
    boxes: Any,
    scores: Any,
    labels: Any,
    *,
    classes: Sequence[str | None],
    size: tuple[int, int],
    masks: NDArray[np.bool_] | None = None,
    path: str | None = None,
    place: str,
) -> Detections:
    """Detections of one image.

    Args:
        boxes: [D,4] xyxy px.
        scores: [D], 0..1.
        labels: [D], 0..K-1.
        classes: names by label.
        size: (height, width) of the image.
        masks: [D,H,W], or None.
        path: of the image.
        place: who gave the values, for messages.

    Returns:
        sorted by score (equal scores keep their order), float32, clipped to the image.

    Raises:
        DetzooError: shapes that do not belong together, values that are not finite, scores outside 0..1, a label
            without a class, or a box that ends before it begins.
    """
    from detzoo.prediction.detections import Detections

    corners = np.asarray(boxes, np.float64).reshape(-1, 4) if np.size(boxes) else np.zeros((0, 4))
    values, numbers = np.asarray(scores, np.float64).reshape(-1), np.asarray(labels, np.int64).reshape(-1)
    _check(corners, values, numbers, len(classes), place)
    if masks is not None and masks.shape != (len(corners), *size):
        raise DetzooError(f"{place}: masks of the shape {list(masks.shape)}; expected {[len(corners), *size]}")
    order = np.argsort(-values, kind="stable")
    height, width = size
    inside = corners[order].clip(0, [width, height, width, height])
    return Detections(
        boxes=torch.from_numpy(inside.astype(np.float32)),
        scores=torch.from_numpy(values[order].astype(np.float32)),
        labels=torch.from_numpy(numbers[order]),
        classes=tuple(classes),
        size=(int(height), int(width)),
        masks=None if masks is None else torch.from_numpy(np.ascontiguousarray(masks[order].astype(np.bool_))),
        path=path,
    )


def _check(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], labels: NDArray[np.int64], classes: int, place: str
) -> None:
    if not len(boxes) == len(scores) == len(labels):
        raise DetzooError(
            f"{place}: {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels; one each is needed"
        )
    for row, (box, score, label) in enumerate(zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True)):
        if not np.isfinite(box).all():
            raise DetzooError(f"{place}: box {row} is {box}; its corners must be finite")
        if box[2] < box[0] or box[3] < box[1]:
            raise DetzooError(f"{place}: box {row} is {box}, which ends before it begins; expected xyxy px")
        if not 0 <= score <= 1:  # NaN is not either
            raise DetzooError(f"{place}: score {row} is {score:g}; it must lie between 0 and 1")
        if not 0 <= label < classes:
            raise DetzooError(f"{place}: label {row} is {label}; there are {classes} classes, counted from 0")


def classes_of(labels: Sequence[int], names: Sequence[str], place: str) -> tuple[str | None, ...]:
    """Class names by label, of the labels and names of detections; None for labels in between that nothing has.

    Raises:
        DetzooError: a label below 0, or with two names.
    """
    found: dict[int, str] = {}
    for label, name in zip(labels, names, strict=True):
        if label < 0:
            raise DetzooError(f"{place}: a label is {label}; labels are counted from 0")
        if found.setdefault(label, name) != name:
            raise DetzooError(
                f"{place}: label {label} is called {found[label]} and {name}; give classes=, the names by label"
            )
    return tuple(found.get(label) for label in range(max(found, default=-1) + 1))
