"""What the boxes of a result file say about its ids: they answer objects of the right images, of the right classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from detzoo.evaluation.judging import boxes_xyxy
from detzoo.evaluation.voc_map import iou_xyxy

_MOST_ROWS: Final = 5000
"""Rows that are held against the ground truth, those with the highest scores."""
_IOU: Final = 0.5
_ENOUGH: Final = 10
"""Answered objects from which on their classes say something about the ids."""


def matched_categories(rows: Sequence[Mapping[str, Any]], truth: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(category of the row, category of the object) of each box that covers an object, whatever its class.

    Args:
        rows: COCO result rows with the dataset's image ids; boxes xywh px.
        truth: COCO ground truth.
    """
    objects: dict[Any, list[tuple[int, list[float]]]] = {}
    for entry in truth["annotations"]:
        objects.setdefault(entry["image_id"], []).append((entry["category_id"], entry["bbox"]))
    best = sorted((row for row in rows if "bbox" in row), key=lambda row: -row["score"])[:_MOST_ROWS]
    found = []
    for row in best:
        there = objects.get(row["image_id"], [])
        if there:
            overlaps = iou_xyxy(boxes_xyxy([row]), boxes_xyxy([{"bbox": box} for _, box in there]))[0]
            nearest = int(overlaps.argmax())
            if overlaps[nearest] >= _IOU:
                found.append((int(row["category_id"]), int(there[nearest][0])))
    return found


def shifted_by(rows: Sequence[Mapping[str, Any]], truth: Mapping[str, Any]) -> int | None:
    """1 or -1 where the category ids of a file look as if they were that much too large; None where they do not."""
    pairs = matched_categories(rows, truth)
    if len(pairs) < _ENOUGH or len({object_ for _, object_ in pairs}) < 2:
        return None
    agreeing = {shift: sum(own - shift == object_ for own, object_ in pairs) for shift in (0, 1, -1)}
    for shift in (1, -1):
        if agreeing[shift] > 0.8 * len(pairs) and agreeing[0] < 0.2 * len(pairs):
            return shift
    return None
