"""Precision-recall curves and the confusion matrix, as data; ``detzoo.comparison.plots`` draws them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.classes import class_names
from detzoo.evaluation.coco_map import CocoResult
from detzoo.evaluation.federation import Federation
from detzoo.evaluation.judging import boxes_xyxy, does_not_count
from detzoo.evaluation.voc_map import iou_xyxy
from detzoo.runtime.report_text import csv_text

RECALL: Final = np.linspace(0.0, 1.0, 101)
THRESHOLDS: Final = {"50": 0, "75": 5}
"""IoU in percent -> its place among COCO's ten."""

SHOWN_FROM: Final = 0.3
"""Score from which detections are drawn and counted in confusions: the same in ``predict``, ``eval`` and the page."""


@dataclass(frozen=True)
class Curve:
    """Precision over recall of one class at one IoU.

    Args:
        name: of the class.
        iou: from which a detection matches.
        precision: float64 [101] at recall 0, .01, ... 1; 0 where that recall is not reached.
        score: float64 [101]: the threshold that gives it.
    """

    name: str
    iou: float
    precision: NDArray[np.float64]
    score: NDArray[np.float64]


def pr_curves(result: CocoResult, names: Mapping[int, str]) -> list[Curve]:
    """Curves of all classes with ground truth, at IoU .50 and .75."""
    curves = []
    for k, category in enumerate(result.category_ids):
        for percent, place in THRESHOLDS.items():
            precision = result.precision[place, :, k]
            if precision.max() > -1:  # -1 throughout: no ground truth
                score = np.maximum(result.scores[place, :, k], 0)  # -1 where a recall is not reached
                curves.append(Curve(names[category], int(percent) / 100, precision, score))
    return curves


@dataclass(frozen=True)
class Confusion:
    """What was taken for what.

    Args:
        names: classes; the last row (false positives) and the last column (missed) belong to the background.
        counts: int64 [K+1,K+1], truth by row, detection by column.
        score: detections below it are not looked at.
        iou: overlap from which a detection and a box belong together, whatever their classes.
    """

    names: tuple[str, ...]
    counts: NDArray[np.int64]
    score: float
    iou: float


def confusion(
    detections: Sequence[Mapping[str, Any]],
    ground_truth: Mapping[str, Any],
    *,
    score: float = SHOWN_FROM,
    iou: float = 0.5,
) -> Confusion:
    """Match boxes whatever their class: by falling score each detection takes the free box it overlaps most.

    Args:
        detections: COCO result rows.
        ground_truth: COCO ground truth; a detection that matches a difficult or crowd box does not count.
        score: detections below it are left out.
        iou: least overlap.
    """
    categories = {int(c["id"]): n for n, c in enumerate(ground_truth["categories"])}
    background = len(categories)
    counts = np.zeros((background + 1, background + 1), np.int64)
    truth: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    found: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for a in ground_truth["annotations"]:
        truth[a["image_id"]].append(a)
    federation = Federation(ground_truth)
    for d in federation.counted(detections):
        if d["score"] >= score and int(d["category_id"]) in categories:
            found[d["image_id"]].append(d)
    for image in truth.keys() | found.keys():
        for row, column in _pairs(truth[image], found[image], iou):
            if row is None and column in federation.forgiven(image):
                continue  # not every object of that class has a box
            counts[
                background if row is None else categories[row], background if column is None else categories[column]
            ] += 1
    return Confusion(tuple(class_names(ground_truth).values()), counts, score, iou)


def _pairs(
    truth: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], iou: float
) -> list[tuple[int | None, int | None]]:
    """(true category, found category) of each pair; None for the background."""
    found = sorted(found, key=lambda d: -d["score"])
    overlap = iou_xyxy(boxes_xyxy(found), boxes_xyxy(truth))
    free = np.ones(len(truth), bool)
    pairs: list[tuple[int | None, int | None]] = []
    for n, d in enumerate(found):
        candidates = np.where(free, overlap[n], -1.0)  # a crowd box stays free: it may take many
        best = int(candidates.argmax()) if len(truth) else -1
        if best < 0 or candidates[best] < iou:
            pairs.append((None, int(d["category_id"])))
        elif not does_not_count(truth[best]):  # a detection on a difficult or crowd box is neither right nor wrong
            free[best] = False
            pairs.append((int(truth[best]["category_id"]), int(d["category_id"])))
    pairs += [
        (int(a["category_id"]), None) for a, left in zip(truth, free, strict=True) if left and not does_not_count(a)
    ]
    return pairs


def curves_csv(curves: Sequence[Curve]) -> str:
    """One line per class, IoU and recall."""
    rows = (
        [curve.name, curve.iou, f"{recall:.2f}", f"{precision:.6f}", f"{score:.6f}"]
        for curve in curves
        for recall, precision, score in zip(RECALL, curve.precision, curve.score, strict=True)
    )
    return csv_text([["class", "iou", "recall", "precision", "score"], *rows])


def confusion_csv(matrix: Confusion) -> str:
    """Truth by row, detection by column."""
    titles = [*matrix.names, "background"]
    rows = ([name, *row] for name, row in zip(titles, matrix.counts.tolist(), strict=True))
    return csv_text([["truth / detected", *titles], *rows])
