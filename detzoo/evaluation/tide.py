"""What kind of errors a detector makes, and what AP50 each kind costs: the split of TIDE.

Every false positive has one kind; every box that nothing found is ``missed``, unless a detection lies on it that only
has the wrong class or the wrong place. A kind's price is the AP50 that is gained when an oracle mends it alone.

Letters: D detections of an image, G ground truths that count, H those that do not (difficult, crowd), N all detections.

Source: Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
sections 2.1 and 2.2. Where definitions overlap, the order is the authors' own (localisation, classification,
duplicate, background, both). Deliberate difference: each oracle mends its own kind alone, where theirs lets a
localisation error of higher score take a box away from a classification error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.coco_map import sorting_key
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
RECALL: Final = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Verdict:
    """What one detection is.

    Args:
        row: the COCO result row.
        kind: ``true``, ``ignored`` (on a difficult or crowd box) or one of KINDS.
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


def judge(detections: Sequence[Row], annotations: Sequence[Row]) -> Judged:
    """Tell true detections of one image from false ones, and say what is wrong with the false ones.

    Args:
        detections: COCO result rows of one image.
        annotations: COCO annotations of that image; ``ignore`` and ``iscrowd`` mark those that count neither way.
    """
    found = _kept(detections)
    truth = [a for a in annotations if not _hard(a)]
    hard = [a for a in annotations if _hard(a)]
    overlap = iou_xyxy(_boxes(found), _boxes(truth))  # [D,G]
    owner, ignored = _matched(found, truth, hard, overlap)
    taken = set(owner.values())
    verdicts = []
    for d, row in enumerate(found):
        if d in owner:
            verdicts.append(Verdict(row, TRUE, owner[d]))
        elif d in ignored:
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


def _kept(detections: Sequence[Row]) -> list[Row]:
    """By falling score, at most MOST of each class."""
    kept: list[Row] = []
    seen: dict[int, int] = defaultdict(int)
    for row in sorted(detections, key=lambda row: -row["score"]):
        seen[int(row["category_id"])] += 1
        if seen[int(row["category_id"])] <= MOST:
            kept.append(row)
    return kept


def _matched(
    found: Sequence[Row], truth: Sequence[Row], hard: Sequence[Row], overlap: Floats
) -> tuple[dict[int, int], set[int]]:
    """COCO's matching at FOREGROUND: (detection -> ground truth, detections on boxes that do not count)."""
    classes = np.array([int(a["category_id"]) for a in truth])
    hard_classes = np.array([int(a["category_id"]) for a in hard])
    crowd = np.array([is_flagged(a, "iscrowd") for a in hard], dtype=bool)
    beyond = _hard_overlap(found, hard, crowd)
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


def _hard_overlap(found: Sequence[Row], hard: Sequence[Row], crowd: NDArray[np.bool_]) -> Floats:
    """IoU with boxes that do not count [D,H]; of a crowd, the share of the detection that lies inside."""
    a, b = _boxes(found), _boxes(hard)
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


def _hard(annotation: Row) -> bool:
    return is_flagged(annotation, "ignore", "iscrowd")


def _boxes(rows: Sequence[Row]) -> Floats:
    return np.array([xyxy(row["bbox"]) for row in rows], dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True)
class ErrorSplit:
    """Errors by kind.

    Args:
        ap50: as it is, 0..1; NaN where no ground truth counts.
        counts: kind -> how many.
        gains: kind -> AP50 that is won when that kind alone is mended.
        per_class: category id -> kind -> gain of that class's AP50; classes with ground truth alone.
    """

    ap50: float
    counts: dict[str, int]
    gains: dict[str, float]
    per_class: dict[int, dict[str, float]]


@dataclass
class _All:
    """The verdicts of all images as columns [N], and how many boxes of each class there are."""

    scores: Floats
    categories: NDArray[np.int64]
    kinds: NDArray[np.str_]
    targets: NDArray[np.int64]  # number of the ground truth over all images, -1 for none that is free
    target_categories: NDArray[np.int64]
    boxes: dict[int, int]
    missed: dict[int, int]


def error_split(detections: Sequence[Row], ground_truth: Mapping[str, Any]) -> ErrorSplit:
    """What each kind of error costs in AP50.

    Args:
        detections: COCO result rows with bbox xywh px.
        ground_truth: COCO ground truth.
    """
    rows = _columns(detections, ground_truth)
    before = _ap(rows.categories, rows.scores, rows.kinds == TRUE, rows.boxes)
    after = {kind: _mended(rows, kind) for kind in KINDS}
    known = [category for category, count in rows.boxes.items() if count]
    per_class = {c: {kind: after[kind][c] - before[c] for kind in KINDS} for c in known}
    counts = {kind: int((rows.kinds == kind).sum()) for kind in KINDS} | {"missed": sum(rows.missed.values())}
    gains = {k: float(np.mean([per_class[c][k] for c in known])) if known else float("nan") for k in KINDS}
    ap50 = float(np.mean([before[c] for c in known])) if known else float("nan")
    return ErrorSplit(ap50, counts, gains, per_class)


def by_image(rows: Sequence[Row]) -> dict[Any, list[Row]]:
    """Rows grouped by image id, in their order."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["image_id"]].append(row)
    return groups


def _columns(detections: Sequence[Row], ground_truth: Mapping[str, Any]) -> _All:
    boxes = {int(c["id"]): 0 for c in ground_truth["categories"]}
    missed = dict.fromkeys(boxes, 0)
    truth, found = by_image(ground_truth["annotations"]), by_image(detections)
    columns: list[tuple[float, int, str, int, int]] = []
    first = 0  # number of the image's first ground truth
    for image in sorted({image["id"] for image in ground_truth["images"]}, key=sorting_key):
        judged = judge([d for d in found.get(image, ()) if int(d["category_id"]) in boxes], truth.get(image, ()))
        for verdict in judged.verdicts:
            if verdict.kind != IGNORED:
                category = wanted = int(verdict.row["category_id"])
                target = -1
                if verdict.truth is not None and verdict.free:
                    # over all images
                    target, wanted = first + verdict.truth, int(judged.truth[verdict.truth]["category_id"])
                columns.append((float(verdict.row["score"]), category, verdict.kind, target, wanted))
        for annotation, lost in zip(judged.truth, judged.missed, strict=True):
            boxes[int(annotation["category_id"])] += 1
            missed[int(annotation["category_id"])] += lost
        first += len(judged.truth)
    scores, categories, kinds, targets, wanted_categories = zip(*columns, strict=True) if columns else ((),) * 5
    return _All(
        scores=np.array(scores, dtype=np.float64),
        categories=np.array(categories, dtype=np.int64),
        kinds=np.array(kinds, dtype=np.str_),
        targets=np.array(targets, dtype=np.int64),
        target_categories=np.array(wanted_categories, dtype=np.int64),
        boxes=boxes,
        missed=missed,
    )


def _mended(rows: _All, kind: str) -> dict[int, float]:
    """AP50 by class once an oracle has mended one kind.

    A box or a class is put right where that finds a box which nothing else found, by the best of those that could;
    every other detection of the kind is removed. Missed boxes are no longer asked for.
    """
    true = rows.kinds == TRUE
    if kind == "missed":
        return _ap(rows.categories, rows.scores, true, {c: n - rows.missed[c] for c, n in rows.boxes.items()})
    wrong = rows.kinds == kind
    mended = np.zeros(len(true), bool)
    best: dict[int, int] = {}
    for n in np.flatnonzero(wrong & (rows.targets >= 0)):
        target = int(rows.targets[n])
        if target not in best or rows.scores[n] > rows.scores[best[target]]:
            best[target] = int(n)
    mended[list(best.values())] = True
    keep = ~wrong | mended
    categories = np.where(mended, rows.target_categories, rows.categories)
    return _ap(categories[keep], rows.scores[keep], (true | mended)[keep], rows.boxes)


def _ap(
    categories: NDArray[np.int64], scores: Floats, true: NDArray[np.bool_], boxes: Mapping[int, int]
) -> dict[int, float]:
    """COCO's 101-point AP of each class."""
    return {c: _class_ap(scores[categories == c], true[categories == c], n) for c, n in boxes.items()}


def _class_ap(scores: Floats, true: NDArray[np.bool_], boxes: int) -> float:
    """Of one class; without a box left to find, 1 where nothing false was found either."""
    if boxes == 0:
        return float(true.all())  # all of nothing is true: 1
    hits = true[np.argsort(-scores, kind="stable")].cumsum()  # stable: COCO's mergesort
    if not len(hits):
        return 0.0
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    reached = np.searchsorted(hits / boxes, RECALL, side="left")  # first place with at least that recall
    return float(np.append(precision, 0.0)[np.minimum(reached, len(hits))].mean())
