"""Which labels a trained detector doubts: objects without a box, wrong classes, boxes beside an object or on nothing.

A detector is often wrong, and its scores mean something else for every architecture. So both are measured on the
data themselves: how often detections of a score are right (trust), and how often boxes of a class and size are found.
A doubt is then a number 0..1 that the four kinds share:

- ``missing``: a detection where nothing is annotated: trust x (1 - IoU with the nearest box).
- ``class``: a detection of another class on a box: trust, less the trust in detections of the annotated class there.
- ``location``: a detection of the same class that overlaps a box badly: trust x (1 - IoU), less the trust in those
  that overlap it well; at least what the next kind would be.
- ``not_found``: no detection of any class is on a box: the share of boxes of its class and size that are found x
  (1 - trust in what is near x its IoU). Detections of a score that lie anywhere do not count (``telling_score``).

A box gets its strongest doubt alone, and a detection raises one.

Letters: D detections of an image, G ground truths that count, N detections of all images.

Source: the first three kinds are those of Tkachenko, Thyagarajan, Mueller, "ObjectLab: Automated Diagnosis of
Mislabeled Images in Object Detection Data", arXiv:2309.00832 (overlooked, swapped, badly located). Deliberate
differences: boxes are ranked and not images, scores are calibrated instead of compared with fixed thresholds, and
boxes on nothing are a kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.federation import Federation
from detzoo.evaluation.judging import (
    BACKGROUND,
    FOREGROUND,
    IGNORED,
    TRUE,
    Floats,
    Judged,
    Row,
    boxes_xyxy,
    by_image,
    does_not_count,
    hard_overlap,
    judge_image,
)
from detzoo.evaluation.voc_map import iou_xyxy

Kind: TypeAlias = Literal["missing", "class", "location", "not_found"]
LEAST: Final = 0.2
"""Doubt from which a label is listed."""
WELL: Final = 0.6
"""IoU from which a detection and a box agree on the place."""
_PRIOR: Final = 20.0
"""Boxes of a class with whose weight the share of its size, whatever the class, enters the expected recall."""
_SIZES: Final = (32.0**2, 96.0**2)


@dataclass(frozen=True)
class Doubt:
    """One label that may be wrong.

    Args:
        score: 0..1, how strong the doubt is.
        kind: what seems to be wrong.
        image_id: of the dataset.
        annotation: the COCO annotation; None where one seems to be missing.
        detection: the COCO result row that speaks against it; None where nothing was found.
        overlap: IoU of the two, 0 where one is absent.
    """

    score: float
    kind: Kind
    image_id: Any
    annotation: Row | None
    detection: Row | None
    overlap: float


def doubted_labels(detections: Sequence[Row], ground_truth: Mapping[str, Any], *, least: float = LEAST) -> list[Doubt]:
    """The labels that detections speak against, the strongest doubt first.

    Args:
        detections: COCO result rows, low scores included.
        ground_truth: COCO ground truth; what lies on difficult and crowd boxes counts neither way.
        least: smaller doubts are left out.
    """
    federation = Federation(ground_truth)
    found, truth = by_image(federation.counted(detections)), by_image(ground_truth["annotations"])
    known = {int(category["id"]) for category in ground_truth["categories"]}
    judged = {}
    for image in (image["id"] for image in ground_truth["images"]):
        rows = [row for row in found.get(image, ()) if int(row["category_id"]) in known]
        judged[image] = judge_image(rows, truth.get(image, ()), image, federation)
    trust = trust_in(list(judged.values()))
    seen = [_seen(one, truth.get(image, ()), trust, federation.forgiven(image)) for image, one in judged.items()]
    start = telling_score(seen)
    expected = expected_recall(seen, start)
    doubts = [d for image, one in zip(judged, seen, strict=True) for d in _of_image(image, one, start, expected)]
    return sorted((d for d in doubts if d.score >= least), key=lambda d: -d.score)  # stable: ties as the images come


@dataclass(frozen=True)
class Seen:
    """One image.

    Args:
        rows: detections by falling score, without those that count neither way whatever their class: on difficult
            and crowd boxes, or of classes of which not every object has a box (LVIS).
        trusted: float64 [D], trust in each.
        truth: annotations that count.
        overlap: float64 [D,G], IoU.
    """

    rows: list[Row]
    trusted: Floats
    truth: list[Row]
    overlap: Floats

    def found(self, start: float) -> NDArray[np.bool_]:
        """Bool [G]: whether a detection of any class, with that score or more, is on the box."""
        return self.best_scores(self.overlap) >= start

    def best_scores(self, overlap: Floats) -> Floats:
        """float64 [G]: the best score of the detections on boxes of given overlaps [D,G]; -1 where there is none."""
        scores = np.array([float(row["score"]) for row in self.rows], dtype=np.float64)
        best: Floats = np.where(overlap >= FOREGROUND, scores[:, None], -1.0).max(axis=0, initial=-1.0)
        return best


def _seen(
    judged: Judged, annotations: Sequence[Row], trust: Callable[[float], float], forgiven: Collection[int]
) -> Seen:
    hard = [annotation for annotation in annotations if does_not_count(annotation)]
    beyond = hard_overlap([verdict.row for verdict in judged.verdicts], hard).max(axis=1, initial=0.0)  # [D]
    rows = [
        verdict.row
        for verdict, share in zip(judged.verdicts, beyond, strict=True)
        if share < FOREGROUND and (verdict.kind != IGNORED or int(verdict.row["category_id"]) not in forgiven)
    ]
    trusted = np.array([trust(float(row["score"])) for row in rows], dtype=np.float64)
    return Seen(rows, trusted, judged.truth, iou_xyxy(boxes_xyxy(rows), boxes_xyxy(judged.truth)))


def trust_in(judged: Sequence[Judged]) -> Callable[[float], float]:
    """From the score of a detection to the share of detections of such a score that are right.

    The shares never fall with the score: isotonic regression by pooling neighbours that are out of order.

    Source: Barlow, Bartholomew, Bremner, Brunk, "Statistical Inference under Order Restrictions", 1972, chapter 1.
    """
    verdicts = [verdict for one in judged for verdict in one.verdicts if verdict.kind != IGNORED]
    if not verdicts:
        return lambda _: 0.0
    scores, place = np.unique([float(verdict.row["score"]) for verdict in verdicts], return_inverse=True)
    right = np.bincount(place, weights=[verdict.kind == TRUE for verdict in verdicts])  # of each score
    pools: list[tuple[float, float, int]] = []  # (share that is right, detections, scores)
    for hits, count in zip(right, np.bincount(place), strict=True):
        share, weight, width = float(hits / count), float(count), 1
        while pools and pools[-1][0] >= share:
            below, others, wide = pools.pop()
            share = (share * weight + below * others) / (weight + others)
            weight, width = weight + others, width + wide
        pools.append((share, weight, width))
    shares = np.repeat([share for share, _, _ in pools], [width for _, _, width in pools])
    return lambda score: float(shares[max(0, int(np.searchsorted(scores, score, side="right")) - 1)])


def telling_score(seen: Sequence[Seen]) -> float:
    """The score from which on a detection on a box tells most: many boxes have one, few places without an object do.

    Such places are the boxes of the next image. The difference of the two shares is largest at the returned score
    (Youden's J); detectors that report much of little score get a higher one.
    """
    with_boxes = [one for one in seen if one.truth]
    real = [score for one in with_boxes for score in one.best_scores(one.overlap)]
    by_chance: list[float] = []
    for one, other in zip(with_boxes, [*with_boxes[1:], *with_boxes[:1]], strict=True):
        by_chance += one.best_scores(iou_xyxy(boxes_xyxy(one.rows), boxes_xyxy(other.truth))).tolist()
    scores = np.unique([score for score in real if score >= 0])
    if not len(scores):
        return 0.0
    hits, strays = (np.sort(values) for values in (real, by_chance))
    more = [1 - np.searchsorted(values, scores) / len(values) for values in (hits, strays)]  # shares from a score on
    tells = (more[0] - more[1]).round(12)
    if tells.max() <= 0:  # objects stand at the same place in all images
        return 0.0
    return float(scores[np.flatnonzero(tells == tells.max())[-1]])


def expected_recall(seen: Sequence[Seen], start: float) -> Callable[[Row, bool], float]:
    """From an annotation, and whether it was found, to the share of the others like it that were.

    Those of its class count one each; those of its size, whatever their class, as much as ``_PRIOR`` boxes together.
    """
    by_class: dict[int, list[bool]] = defaultdict(list)
    by_size: dict[int, list[bool]] = defaultdict(list)
    for one in seen:
        for annotation, found in zip(one.truth, one.found(start).tolist(), strict=True):
            by_class[int(annotation["category_id"])].append(found)
            by_size[_size(annotation)].append(found)
    classes, sizes = ({k: (sum(v), len(v)) for k, v in groups.items()} for groups in (by_class, by_size))
    overall = sum(hits for hits, _ in classes.values()) / max(1, sum(count for _, count in classes.values()))

    def of(annotation: Row, found: bool) -> float:
        hits, count = sizes[_size(annotation)]
        of_size = (hits - found + overall) / count
        hits, count = classes[int(annotation["category_id"])]
        return min(1.0, (hits - found + _PRIOR * of_size) / (count - 1 + _PRIOR))

    return of


def _size(annotation: Row) -> int:
    return int(np.digitize(annotation["bbox"][2] * annotation["bbox"][3], _SIZES))


def _of_image(image: Any, seen: Seen, start: float, expected: Callable[[Row, bool], float]) -> list[Doubt]:
    doubts: list[Doubt] = []
    spoken: set[int] = set()
    for g, (annotation, found) in enumerate(zip(seen.truth, seen.found(start).tolist(), strict=True)):
        score, kind, row = _of_box(g, seen)
        if not found:
            near = float((seen.trusted * seen.overlap[:, g]).max(initial=0.0))
            nothing = expected(annotation, found) * (1 - near)
            if kind == "location" and score >= LEAST:  # one doubt, as strong as that of a box on nothing
                score = max(score, nothing)
            elif nothing > score:
                score, kind, row = nothing, "not_found", None
        if score > 0:
            against, shared = (None, 0.0) if row is None else (seen.rows[row], float(seen.overlap[row, g]))
            doubts.append(Doubt(score, kind, image, annotation, against, shared))
        if row is not None:
            spoken.add(row)
    return doubts + _missing(image, seen, spoken)


def _of_box(g: int, seen: Seen) -> tuple[float, Kind, int | None]:
    """The strongest doubt that a detection throws on a box: how strong, its kind, and the detection."""
    if not seen.rows:
        return 0.0, "class", None
    iou, trusted, category = seen.overlap[:, g], seen.trusted, int(seen.truth[g]["category_id"])
    same: NDArray[np.bool_] = np.array([int(row["category_id"]) == category for row in seen.rows])
    nearest = seen.overlap.argmax(axis=1) == g  # what lies better on a neighbour says nothing about this box
    on = iou >= FOREGROUND
    other = np.where(nearest & on & ~same, trusted - (trusted * (same & on)).max(initial=0.0), 0.0)
    beside = nearest & same & (iou >= BACKGROUND) & (iou < WELL)
    moved = np.where(beside, trusted * (1 - iou) - (trusted * (same & (iou >= WELL))).max(initial=0.0), 0.0)
    kinds: tuple[tuple[Kind, Floats], ...] = (("class", other), ("location", moved))
    kind, values = max(kinds, key=lambda one: float(one[1].max()))
    return (float(values.max()), kind, int(values.argmax())) if values.max() > 0 else (0.0, kind, None)


def _missing(image: Any, seen: Seen, spoken: set[int]) -> list[Doubt]:
    """Detections where nothing is annotated, each object once: the best of those that overlap."""
    between = iou_xyxy(boxes_xyxy(seen.rows), boxes_xyxy(seen.rows))  # [D,D]
    doubts: list[Doubt] = []
    known = sorted(spoken)
    for d, row in enumerate(seen.rows):  # by falling score
        nearest = float(seen.overlap[d].max(initial=0.0))
        if d in spoken or nearest >= FOREGROUND or between[d, known].max(initial=0.0) >= FOREGROUND:
            continue
        known.append(d)
        doubts.append(Doubt(float(seen.trusted[d]) * (1 - nearest), "missing", image, None, row, 0.0))
    return doubts
