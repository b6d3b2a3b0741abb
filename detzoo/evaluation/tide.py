"""What each kind of error costs in AP50: the split of TIDE.

Every false positive has one kind; every box that nothing found is ``missed``, unless a detection lies on it that only
has the wrong class or the wrong place (``judging``). A kind's price is the AP50 that is gained when an oracle mends it
alone.

Letter: N detections of all images.

Source: Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
section 2.2. Deliberate difference: each oracle mends its own kind alone, where theirs lets a localisation error of
higher score take a box away from a classification error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.coco_truth import sorting_key
from detzoo.evaluation.federation import Federation
from detzoo.evaluation.judging import IGNORED, KINDS, TRUE, Floats, Row, by_image, judge_image

RECALL: Final = np.linspace(0.0, 1.0, 101)


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


def _columns(detections: Sequence[Row], ground_truth: Mapping[str, Any]) -> _All:
    boxes = {int(c["id"]): 0 for c in ground_truth["categories"]}
    missed = dict.fromkeys(boxes, 0)
    federation = Federation(ground_truth)
    truth, found = by_image(ground_truth["annotations"]), by_image(federation.counted(detections))
    columns: list[tuple[float, int, str, int, int]] = []
    first = 0  # number of the image's first ground truth
    for image in sorted({image["id"] for image in ground_truth["images"]}, key=sorting_key):
        rows = [d for d in found.get(image, ()) if int(d["category_id"]) in boxes]
        judged = judge_image(rows, truth.get(image, ()), image, federation)
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
