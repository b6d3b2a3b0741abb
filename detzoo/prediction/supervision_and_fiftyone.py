"""Detections as those of supervision and of FiftyOne, and back. Both packages are extras, imported when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import DetzooError
from detzoo.prediction.given_detections import classes_of, detections_of

if TYPE_CHECKING:
    import fiftyone
    import supervision

    from detzoo.prediction.detections import Detections

_NAMES = "class_name"
"""supervision's own key for the names of classes (``supervision.config.CLASS_NAME_DATA_FIELD``)."""


def to_supervision(found: Detections) -> supervision.Detections:
    """See ``Detections.to_supervision``."""
    try:
        import supervision
    except ImportError:
        raise DetzooError("to_supervision needs supervision: pip install detzoo[supervision]") from None
    return supervision.Detections(
        xyxy=found.boxes.numpy().copy(),
        mask=None if found.masks is None else found.masks.numpy().copy(),
        confidence=found.scores.numpy().copy(),
        class_id=found.labels.numpy().copy(),
        data={_NAMES: np.array(found.names, dtype=str)},
    )


def from_supervision(
    given: supervision.Detections, *, size: tuple[int, int], classes: Sequence[str | None] | None, path: str | None
) -> Detections:
    """See ``Detections.from_supervision``."""
    if given.is_empty():
        return detections_of([], [], [], classes=classes or (), size=size, path=path, place="from_supervision")
    for name, part in (("confidence", given.confidence), ("class_id", given.class_id)):
        if part is None:
            raise DetzooError(f"from_supervision: {name} is None; detections need one for each box")
    assert given.confidence is not None
    assert given.class_id is not None
    if classes is None:
        if _NAMES not in given.data:
            raise DetzooError(f"from_supervision: there is no data[{_NAMES!r}]; give classes=, the names by label")
        names = [str(name) for name in given.data[_NAMES]]
        classes = classes_of(given.class_id.tolist(), names, "from_supervision")
    masks = None if given.mask is None else np.asarray(given.mask, np.bool_)  # of a compact mask: drawn
    return detections_of(
        given.xyxy,
        given.confidence,
        given.class_id,
        classes=classes,
        size=size,
        masks=masks,
        path=path,
        place="from_supervision",
    )


def to_fiftyone(found: Detections) -> fiftyone.Detections:
    """See ``Detections.to_fiftyone``."""
    try:
        import fiftyone
    except ImportError:
        raise DetzooError("to_fiftyone needs FiftyOne: pip install detzoo[fiftyone]") from None
    height, width = found.size
    labels = []
    for one in found:
        x1, y1, x2, y2 = one.box
        place = [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height]
        mask = None
        if one.mask is not None:
            left, top, right, bottom = _pixels_of(place, found.size)
            mask = one.mask[top:bottom, left:right].numpy().copy()
        labels.append(fiftyone.Detection(label=one.name, bounding_box=place, confidence=one.score, mask=mask))
    return fiftyone.Detections(detections=labels)


def from_fiftyone(
    given: fiftyone.Detections, *, size: tuple[int, int], classes: Sequence[str | None], path: str | None
) -> Detections:
    """See ``Detections.from_fiftyone``."""
    height, width = size
    label_of = {name: label for label, name in enumerate(classes)}
    boxes, scores, labels = [], [], []
    for one in given.detections:
        if one.label not in label_of:
            known = ", ".join(str(name) for name in classes)
            raise DetzooError(f"from_fiftyone: {one.label} is not among the classes: {known}")
        if one.confidence is None:
            raise DetzooError(f"from_fiftyone: confidence of a {one.label} is None; detections need one")
        x, y, wide, high = one.bounding_box
        boxes.append([x * width, y * height, (x + wide) * width, (y + high) * height])
        scores.append(one.confidence)
        labels.append(label_of[one.label])
    return detections_of(
        boxes,
        scores,
        labels,
        classes=classes,
        size=size,
        masks=_masks([(one.bounding_box, one.get_mask()) for one in given.detections], size),
        path=path,
        place="from_fiftyone",
    )


def _masks(placed: Sequence[tuple[Sequence[float], Any]], size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """[D,H,W] of masks that each fill a box; None where there are none. A box without one has an empty mask."""
    import cv2

    if all(mask is None for _, mask in placed):
        return None
    drawn = np.zeros((len(placed), *size), np.bool_)
    for row, (place, mask) in zip(drawn, placed, strict=True):
        left, top, right, bottom = _pixels_of(place, size)
        if mask is not None and right > left and bottom > top:
            part = np.asarray(mask).astype(np.uint8)
            fitted = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
            row[top:bottom, left:right] = fitted > 0
    return drawn


def _pixels_of(place: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom px that FiftyOne draws a mask to: corners are cut to whole px (eta, ``coords_in``)."""
    height, width = size
    x, y, wide, high = place
    return int(width * x), int(height * y), int(width * (x + wide)), int(height * (y + high))
