"""Detections of each class by falling score, each true or false at IoU 0.5: what thresholds are chosen by.

A detection is true from IoU 0.5 on a free box of its class, the better score first, as COCO matches; what lies on a
difficult or crowd box counts neither way, and is left out. Matches are made from the best score down: dropping low
scores changes none of those above.

Letters: D detections of a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.federation import Federation
from detzoo.evaluation.judging import IGNORED, TRUE, Judged, boxes_xyxy, by_image, judge_image
from detzoo.evaluation.voc_map import iou_xyxy

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredClass:
    """One class's detections that count, by falling score.

    Args:
        scores: float64 [D], 0..1.
        true: bool [D].
        iou: float64 [D] with the box that was found; 0 where none was.
        places: float64 [D,4]: centre x and y, width and height in shares of the image; NaN where its size is unknown.
        objects: that are to be found.
    """

    scores: Floats
    true: Bools
    iou: Floats
    places: Floats
    objects: int

    @property
    def ends(self) -> NDArray[np.int64]:
        """Numbers of detections that a threshold can keep: where the score falls."""
        falls = np.flatnonzero(self.scores[1:] < self.scores[:-1]) + 1
        return np.append(falls, len(self.scores)) if len(self.scores) else np.zeros(0, np.int64)


def scored_classes(detections: Sequence[Mapping[str, Any]], ground_truth: Mapping[str, Any]) -> dict[int, ScoredClass]:
    """Every class of the ground truth by category id.

    Args:
        detections: COCO result rows with bbox xywh px.
        ground_truth: COCO ground truth.
    """
    known = {int(c["id"]) for c in ground_truth["categories"]}
    objects = dict.fromkeys(known, 0)
    rows: dict[int, list[tuple[float, ...]]] = {category: [] for category in known}
    federation = Federation(ground_truth)
    truth, found = by_image(ground_truth["annotations"]), by_image(federation.counted(detections))
    for image in ground_truth["images"]:
        own = [row for row in found.get(image["id"], ()) if int(row["category_id"]) in known]
        judged = judge_image(own, truth.get(image["id"], ()), image["id"], federation)
        for annotation in judged.truth:
            objects[int(annotation["category_id"])] += 1
        for category, row in counted_rows(judged, image):
            rows[category].append(row)
    return {category: scored_class(rows[category], objects[category]) for category in sorted(known)}


def counted_rows(judged: Judged, image: Mapping[str, Any]) -> list[tuple[int, tuple[float, ...]]]:
    """Category and (score, true, IoU, centre, sides) of the detections of one image that count."""
    overlap = iou_xyxy(boxes_xyxy([verdict.row for verdict in judged.verdicts]), boxes_xyxy(judged.truth))
    height, width = (float(image.get(key) or np.nan) for key in ("height", "width"))
    rows: list[tuple[int, tuple[float, ...]]] = []
    for n, verdict in enumerate(judged.verdicts):
        if verdict.kind == IGNORED:
            continue
        hit = verdict.kind == TRUE and verdict.truth is not None
        x, y, w, h = verdict.row["bbox"]
        place = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
        iou = float(overlap[n, verdict.truth]) if hit else 0.0
        rows.append((int(verdict.row["category_id"]), (float(verdict.row["score"]), float(hit), iou, *place)))
    return rows


def scored_class(rows: Sequence[tuple[float, ...]], objects: int) -> ScoredClass:
    """Rows of ``counted_rows`` of one class as arrays."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    table = table[np.argsort(-table[:, 0], kind="stable")]
    return ScoredClass(table[:, 0], table[:, 1] > 0, table[:, 2], table[:, 3:], objects)
