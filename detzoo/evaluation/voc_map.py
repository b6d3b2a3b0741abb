"""PASCAL VOC average precision: 11-point (VOC2007) and area under the curve (VOC2010 and later).

Matching, for each class and image: detections by falling score; each looks at the ground truth that it overlaps most.
Overlap too small: false positive. That box is difficult: the detection does not count. It is free: true positive.
It was taken by a better-scored detection: false positive. Difficult and crowd boxes are not among those to be found.

Boxes here are continuous (right and bottom exclusive). The VOC readers turn the devkit's inclusive pixels into that by
subtracting 1 from xmin and ymin only, which keeps the devkit's sizes: ``legacy_plus_one`` is for inclusive boxes alone.

Letters: D detections of a class, G ground truths of a class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import SettingError
from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.coco_truth import sorting_key

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class VocProtocol:
    """The choices on which implementations of VOC AP differ.

    Args:
        iou: overlap from which a detection matches.
        metric: ``11point`` (VOC2007) or ``area`` (VOC2010 and later: every change of recall counts).
        legacy_plus_one: box sizes are x2 - x1 + 1, for inclusive integer pixels (the devkit, Cartucho, padilla).
        inclusive: a match at IoU equal to the threshold counts (devkit, lufficc, padilla, Cartucho); voc_eval and the
            PyTorch SSD tutorial want more.
        recall_steps: ``exact`` compares recall with 0, .1, ... 1 as fractions (Caffe, the tutorial); ``float`` uses
            ``arange(0, 1.1, .1)``, which misses a recall of exactly .3, .6, .7 (voc_eval, devkit, lufficc).
    """

    iou: float = 0.5
    metric: Literal["11point", "area"] = "area"
    legacy_plus_one: bool = False
    inclusive: bool = True
    recall_steps: Literal["exact", "float"] = "exact"


CHOICES: Final[Mapping[str, Mapping[str, Any]]] = {
    "recall_steps": {"exact": "exact", "float": "float"},
    "inclusive": {"true": True, "false": False},
    "legacy_plus_one": {"true": True, "false": False},
}
"""Fields of ``VocProtocol`` that a command may set, with what each may be: written -> value."""


def voc_protocol(choices: Iterable[str]) -> VocProtocol:
    """The protocol of ``["recall_steps=float", "inclusive=false"]``; what is not named keeps its default.

    Raises:
        SettingError: an unknown key or value, or a key given twice.
    """
    chosen: dict[str, Any] = {}
    for text in choices:
        key, equals, value = (part.strip() for part in text.partition("="))
        if key not in CHOICES or not equals:
            raise SettingError(f"voc-protocol {text!r}: write key=value; keys are {', '.join(CHOICES)}")
        if value not in CHOICES[key]:
            raise SettingError(f"voc-protocol {key}: found {value!r}, allowed: {', '.join(CHOICES[key])}")
        if key in chosen:
            raise SettingError(f"voc-protocol {key} is given twice")
        chosen[key] = CHOICES[key][value]
    return VocProtocol(**chosen)


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class, by falling score, without those that do not count.

    Args:
        scores: float64 [D].
        true: bool [D]: true positive, else false positive.
        positives: ground truths to be found.
    """

    scores: Floats
    true: Bools
    positives: int

    @property
    def recall(self) -> Floats:
        """float64 [D]."""
        return np.cumsum(self.true) / max(self.positives, 1)

    @property
    def precision(self) -> Floats:
        """float64 [D]."""
        return np.cumsum(self.true) / np.arange(1, len(self.true) + 1)


def iou_xyxy(a: Floats, b: Floats, extra: float = 0.0) -> Floats:
    """IoU [D,G] of boxes [D,4] and [G,4]; ``extra`` 1 counts inclusive pixels."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.clip(high - low + extra, 0, None).prod(axis=2)
    area_a = (a[:, 2:] - a[:, :2] + extra).prod(axis=1)
    area_b = (b[:, 2:] - b[:, :2] + extra).prod(axis=1)
    union = area_a[:, None] + area_b[None, :] - overlap
    iou: Floats = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)  # [D,G]; empty boxes: 0
    return iou


@dataclass(frozen=True)
class VocBoxes:
    """Boxes of one class over all images, grouped by image: COCO rows read once.

    Args:
        truth: image -> (float64 [G,4] xyxy, bool [G] difficult).
        found: float64 [D,4] xyxy, by falling score (ties in the order of images, then as given).
        scores: float64 [D].
        images: the image of each detection.
    """

    truth: Mapping[Any, tuple[Floats, Bools]]
    found: Floats
    scores: Floats
    images: Sequence[Any]


def match(boxes: VocBoxes, protocol: VocProtocol) -> ClassMatches:
    """Greedy matching of one class; see the top of this file."""
    true, counted = counted_matches(boxes, protocol)
    positives = sum(int((~difficult).sum()) for _, difficult in boxes.truth.values())
    return ClassMatches(scores=boxes.scores[counted], true=true[counted], positives=positives)


def counted_matches(boxes: VocBoxes, protocol: VocProtocol) -> tuple[Bools, Bools]:
    """Which detections are true positives [D], and which count at all [D]: those that do not lie on a difficult box."""
    count = len(boxes.scores)
    best_iou, best_box, hard = np.zeros(count), np.full(count, -1), np.zeros(count, dtype=bool)
    rows_of: dict[Any, list[int]] = defaultdict(list)
    for row, image in enumerate(boxes.images):
        rows_of[image].append(row)
    first_box = 0
    for image, (truth, difficult) in boxes.truth.items():
        rows = rows_of.get(image)
        if rows and len(truth):
            overlap = iou_xyxy(boxes.found[rows], truth, float(protocol.legacy_plus_one))
            which = overlap.argmax(axis=1)  # VOC: the best box, taken or not; a second detection of it is false
            best_iou[rows] = overlap[np.arange(len(rows)), which]
            best_box[rows] = first_box + which
            hard[rows] = difficult[which]
        first_box += len(truth)
    enough = (best_iou >= protocol.iou if protocol.inclusive else best_iou > protocol.iou) & (best_box >= 0)
    true = np.zeros(count, dtype=bool)
    candidates = np.flatnonzero(enough & ~hard)
    # A box belongs to the first detection, by score, whose best box it is.
    _, first = np.unique(best_box[candidates], return_index=True)
    true[candidates[first]] = True
    return true, ~(enough & hard)  # a detection on a difficult box counts neither way


def average_precision(matches: ClassMatches, protocol: VocProtocol) -> float:
    """AP of one class, 0..1; NaN without ground truth."""
    if matches.positives == 0:
        return float("nan")
    if len(matches.true) == 0:
        return 0.0
    recall, precision = matches.recall, matches.precision
    # The precision at a recall is the best at that recall or beyond.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if protocol.metric == "area":
        steps = np.diff(np.concatenate([[0.0], recall]))
        return float((steps * envelope).sum())
    if protocol.recall_steps == "exact":
        found = np.cumsum(matches.true)
        # whole numbers: no rounding
        reached = [np.flatnonzero(10 * found >= tenth * matches.positives) for tenth in range(11)]
    else:
        reached = [np.flatnonzero(recall >= step) for step in np.arange(0.0, 1.1, 0.1)]
    return float(sum(envelope[at[0]] if len(at) else 0.0 for at in reached) / 11)


def xyxy(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    """COCO's x, y, width, height -> xyxy."""
    x, y, width, height = bbox
    return (x, y, x + width, y + height)


def group_boxes(detections: Sequence[Mapping[str, Any]], ground_truth: Mapping[str, Any]) -> dict[int, VocBoxes]:
    """COCO rows -> boxes by category; ``ignore`` and ``iscrowd`` boxes are the difficult ones."""
    truth: dict[int, dict[Any, list[tuple[Any, bool]]]] = {int(c["id"]): {} for c in ground_truth["categories"]}
    for a in ground_truth["annotations"]:
        hard = is_flagged(a, "ignore", "iscrowd")
        truth[int(a["category_id"])].setdefault(a["image_id"], []).append((xyxy(a["bbox"]), hard))
    found: dict[int, list[tuple[float, Any, Any]]] = {category: [] for category in truth}
    order = {i: n for n, i in enumerate(sorted({d["image_id"] for d in detections}, key=sorting_key))}
    for d in detections:
        if int(d["category_id"]) in found:
            found[int(d["category_id"])].append((float(d["score"]), d["image_id"], xyxy(d["bbox"])))
    return {category: sorted_boxes(truth[category], found[category], order) for category in truth}


def sorted_boxes(
    truth: Mapping[Any, list[tuple[Any, bool]]], found: list[tuple[float, Any, Any]], order: Mapping[Any, int]
) -> VocBoxes:
    """One class's boxes as arrays."""
    found = sorted(found, key=lambda row: (-row[0], order[row[1]]))  # ties by image: the same for any batch size
    return VocBoxes(
        truth={
            image: (np.array([b for b, _ in rows], dtype=np.float64), np.array([h for _, h in rows], dtype=bool))
            for image, rows in truth.items()
        },
        found=np.array([box for _, _, box in found], dtype=np.float64).reshape(-1, 4),
        scores=np.array([score for score, _, _ in found], dtype=np.float64),
        images=[image for _, image, _ in found],
    )


def voc_map(
    detections: Sequence[Mapping[str, Any]],
    ground_truth: Mapping[str, Any],
    protocol: VocProtocol | None = None,
) -> dict[int, float]:
    """AP by category id, 0..1; NaN for categories without ground truth, which no mean should count.

    Args:
        detections: COCO result rows with bbox xywh px.
        ground_truth: COCO ground truth; ``ignore`` or ``iscrowd`` mark difficult boxes.
        protocol: by default area under the curve at IoU 0.5.

    Source: Everingham et al., IJCV 2010, sections 4.2 and 3.4; VOCevaldet.m; py-faster-rcnn's voc_eval.
    """
    protocol = protocol or VocProtocol()
    groups = group_boxes(detections, ground_truth)
    return {category: average_precision(match(boxes, protocol), protocol) for category, boxes in groups.items()}


def mean_ap(per_class: Mapping[int, float]) -> float:
    """Mean over classes that have ground truth; NaN where none has."""
    known = [value for value in per_class.values() if not np.isnan(value)]  # a class without objects is no 0
    return float(np.mean(known)) if known else float("nan")
