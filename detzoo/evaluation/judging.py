"""Detections of one image held against its boxes at IoU 0.5: which are true, and what is wrong with each other one.

Letters: D detections of an image, G ground truths that count, H those that do not (difficult, crowd).

Source: Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
section 2.1. Where definitions overlap, the order is the authors' own (localisation, classification, duplicate,
background, both).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.federation import MAX_DETECTIONS as FEDERATED_MAX_DETECTIONS
from detzoo.evaluation.federation import Federation
from detzoo.evaluation.voc_map import iou_xyxy, xyxy

Row = Mapping[str, Any]
Floats = NDArray[np.float64]

KINDS: Final = ("classification", "localisation", "both", "duplicate", "background", "missed")
TRUE: Final = "true"
IGNORED: Final = "ignored"
FOREGROUND: Final = 0.5
"""IoU from which a detection is on a box."""
BACKGROUND: Final = 0.1
"""IoU below which a detection has nothing to do with a box."""
MOST: Final = 100
"""Detections of one class in one image that count, as in COCO's AP."""


@dataclass(frozen=True)
class Verdict:
    """What one detection is.

    Args:
        row: the COCO result row.
        kind: ``true``, ``ignored`` (on a difficult or crowd box, or forgiven) or one of KINDS.
        truth: number of the ground truth that it found, or that would be found if the error were mended.
        free: whether that ground truth was found by nothing else.
    """

    row: Row
    kind: str
    truth: int | None = None
    free: bool = False


@dataclass(frozen=True)
class Judged:
    """One image's detections and boxes, classified.

    Args:
        verdicts: by falling score.
        truth: annotations that count.
        found: which of them a detection found.
        missed: which of them no detection lies on, not even one of the wrong class or a little off.
    """

    verdicts: list[Verdict]
    truth: list[Row]
    found: list[bool]
    missed: list[bool]


def judge_image(detections: Sequence[Row], annotations: Sequence[Row], image: Any, federation: Federation) -> Judged:
    """``judge`` one image of a dataset; of a federated one, the detections that ``federation.counted`` left."""
    most = FEDERATED_MAX_DETECTIONS if federation.applies else MOST
    return judge(detections, annotations, forgiven=federation.forgiven(image), most=most)


def judge(
    detections: Sequence[Row], annotations: Sequence[Row], *, forgiven: Collection[int] = (), most: int = MOST
) -> Judged:
    """Tell true detections of one image from false ones, and say what is wrong with the false ones.

    Args:
        detections: COCO result rows of one image.
        annotations: COCO annotations of that image; ``ignore`` and ``iscrowd`` mark those that count neither way.
        forgiven: categories of which not every object has a box: their detections are true or count neither way.
        most: detections of a class that are looked at.
    """
    found = _kept(detections, most)
    truth = [a for a in annotations if not does_not_count(a)]
    hard = [a for a in annotations if does_not_count(a)]
    overlap = iou_xyxy(boxes_xyxy(found), boxes_xyxy(truth))  # [D,G]
    owner, ignored = _matched(found, truth, hard, overlap)
    taken = set(owner.values())
    verdicts = []
    for d, row in enumerate(found):
        if d in owner:
            verdicts.append(Verdict(row, TRUE, owner[d]))
        elif d in ignored or int(row["category_id"]) in forgiven:
            verdicts.append(Verdict(row, IGNORED))
        else:
            kind, target = _kind(int(row["category_id"]), truth, overlap[d])
            verdicts.append(Verdict(row, kind, target, target is not None and target not in taken))
    covered = {v.truth for v in verdicts if v.free} | taken  # TIDE: missed only if no error covers it
    return Judged(
        verdicts,
        truth,
        found=[g in taken for g in range(len(truth))],
        missed=[g not in covered for g in range(len(truth))],
    )


def _kept(detections: Sequence[Row], most: int) -> list[Row]:
    """By falling score, at most so many of each class."""
    kept: list[Row] = []
    seen: dict[int, int] = defaultdict(int)
    for row in sorted(detections, key=lambda row: -row["score"]):
        seen[int(row["category_id"])] += 1
        if seen[int(row["category_id"])] <= most:
            kept.append(row)
    return kept


def _matched(
    found: Sequence[Row], truth: Sequence[Row], hard: Sequence[Row], overlap: Floats
) -> tuple[dict[int, int], set[int]]:
    """COCO's matching at FOREGROUND: (detection -> ground truth, detections on boxes that do not count)."""
    classes = np.array([int(a["category_id"]) for a in truth])
    hard_classes = np.array([int(a["category_id"]) for a in hard])
    crowd = np.array([is_flagged(a, "iscrowd") for a in hard], dtype=bool)
    beyond = hard_overlap(found, hard)
    free, hard_free = np.ones(len(truth), bool), np.ones(len(hard), bool)
    owner: dict[int, int] = {}
    ignored: set[int] = set()
    for d, row in enumerate(found):
        category = int(row["category_id"])
        if (best := _last_best(overlap[d], free & (classes == category))) is not None:
            owner[d] = best
            free[best] = False
        elif (best := _last_best(beyond[d], (hard_free | crowd) & (hard_classes == category))) is not None:
            ignored.add(d)
            hard_free[best] = False
    return owner, ignored


def _last_best(overlap: Floats, allowed: NDArray[np.bool_]) -> int | None:
    """The allowed box of the highest overlap from FOREGROUND on; among equal ones the last, as pycocotools takes it."""
    values = np.where(allowed, overlap, -1.0)
    if not values.size or values.max() < FOREGROUND - 1e-10:
        return None
    return int(len(values) - 1 - values[::-1].argmax())


def hard_overlap(found: Sequence[Row], hard: Sequence[Row]) -> Floats:
    """IoU with boxes that do not count [D,H]; of a crowd, the share of the detection that lies inside."""
    crowd = np.array([is_flagged(a, "iscrowd") for a in hard], dtype=bool)
    a, b = boxes_xyxy(found), boxes_xyxy(hard)
    overlap = iou_xyxy(a, b)
    if crowd.any():
        sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
        inside = sides.clip(min=0).prod(axis=2)
        area = np.maximum((a[:, 2:] - a[:, :2]).prod(axis=1), 1e-12)
        overlap = np.where(crowd[None, :], inside / area[:, None], overlap)
    return overlap


def _kind(category: int, truth: Sequence[Row], overlap: Floats) -> tuple[str, int | None]:
    """The kind of one false positive, and the ground truth it would find if that were mended."""
    same = np.array([int(a["category_id"]) == category for a in truth], dtype=bool)
    right, wrong = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    best_right, best_wrong = (float(values.max(initial=0.0)) for values in (right, wrong))
    if BACKGROUND <= best_right < FOREGROUND:  # TIDE's order: localisation before classification
        return "localisation", int(right.argmax())
    if best_wrong >= FOREGROUND:
        return "classification", int(wrong.argmax())
    if best_right >= FOREGROUND:
        return "duplicate", None
    if best_wrong < BACKGROUND:
        return "background", None
    return "both", None


def does_not_count(annotation: Row) -> bool:
    """Whether a box is difficult or a crowd: neither found nor missed."""
    return is_flagged(annotation, "ignore", "iscrowd")


def boxes_xyxy(rows: Sequence[Row]) -> Floats:
    """float64 [N,4] px of COCO rows."""
    return np.array([xyxy(row["bbox"]) for row in rows], dtype=np.float64).reshape(-1, 4)


def by_image(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Rows grouped by image id, in their order."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["image_id"]].append(row)
    return groups
