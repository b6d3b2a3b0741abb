"""COCO average precision: ground truth and results in COCO form -> the twelve numbers, and the same per class.

The counting is pycocotools' (or faster-coco-eval's, which must agree to the last digit), of what ``coco_truth`` has
prepared for the two. Federated ground truth is counted as LVIS counts (``federation``), by the same engines.

Letters: T IoU thresholds (.50:.05:.95), R recall points (0:.01:1), K categories, A areas (all, s, m, l), M limits of
detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detzoo.errors import SettingError
from detzoo.evaluation.coco_counting import Counts, count
from detzoo.evaluation.coco_truth import CocoDict, CocoGroundTruth, IouType
from detzoo.evaluation.engines import Engine
from detzoo.evaluation.federation import MAX_DETECTIONS as FEDERATED_MAX_DETECTIONS
from detzoo.evaluation.federation import Federation
from detzoo.evaluation.rankings import Ranking

Floats: TypeAlias = NDArray[np.float64]

MAX_DETECTIONS: Final = 100
"""Of each image and class: COCO's own limit."""


@dataclass(frozen=True)
class CocoResult:
    """What COCO's protocol says about a set of detections.

    Args:
        metrics: the numbers by name, 0..1; NaN where no ground truth exists to answer (pycocotools' -1).
        per_class: category id -> AP, AP50, AP75, APs, APm, APl, AR100 (federated: AR300), each 0..1 or NaN.
        precision: float64 [T,R,K], all areas, the largest number of detections; -1 for absent categories.
        scores: float64 [T,R,K]: the score at which each of these precisions is reached.
        category_ids: the dataset's ids, in the order of K.
        limits: of detections of each image and class; of each image where the ground truth is federated.
        rankings: [K][A]: what the numbers were made of; None from an engine that keeps none.
        warnings: what the reader should know before believing the numbers.
    """

    metrics: dict[str, float]
    per_class: dict[int, dict[str, float]]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    category_ids: tuple[int, ...]
    limits: tuple[int, ...]
    rankings: Sequence[Sequence[Ranking]] | None = None
    warnings: tuple[str, ...] = ()


def coco_map(
    detections: Sequence[CocoDict],
    ground_truth: CocoDict | CocoGroundTruth,
    *,
    iou_type: IouType = "bbox",
    engine: Engine = "pycocotools",
    max_detections: int | None = None,
) -> CocoResult:
    """COCO's twelve numbers, and per class; crowd and ``ignore`` boxes are ignored.

    Of federated ground truth (LVIS) the thirteen numbers of lvis-api: APr, APc and APf of rare, common and frequent
    classes, and AR300 in place of AR1, AR10 and AR100.

    Args:
        detections: COCO result rows: image_id, category_id, score, bbox xywh px or segmentation (run lengths).
        ground_truth: COCO ground truth, or what was prepared from it once.
        iou_type: overlap of boxes or of masks.
        engine: pycocotools, or faster-coco-eval (an extra).
        max_detections: that AP looks at: of each image and class, 100 or more (the default), and AR1 to ARl keep COCO's
            own limits; of each image over all classes where the ground truth is federated, 300 or more (the default).

    Raises:
        DataError: rows that do not belong to the ground truth.
        SettingError: a limit below the protocol's own.

    Source: https://cocodataset.org/#detection-eval; pycocotools.cocoeval. Deliberate differences: the ``ignore``
    flag of ground truth is honoured; no detections give 0, not an error; a precision of 1 is exactly 1.
    """
    truth = ground_truth if isinstance(ground_truth, CocoGroundTruth) else CocoGroundTruth(ground_truth)
    limit = limit_of(truth.federation, max_detections)
    federated = truth.federation.applies
    limits = (limit,) if federated else sorted({1, 10, MAX_DETECTIONS, limit})
    counts = count(truth.federation.counted(detections, limit), truth, engine, iou_type, limits)
    ids = truth.category_ids
    whole = summary(counts.precision, counts.recall, limits)
    if federated:
        whole = with_frequencies(whole, counts.precision, truth.federation.of_frequency(ids))
    return CocoResult(
        metrics=whole,
        per_class={c: class_summary(counts, k, limits) for k, c in enumerate(ids)},
        precision=counts.precision[:, :, :, 0, -1],  # all areas, the most detections
        scores=counts.scores[:, :, :, 0, -1],
        category_ids=ids,
        limits=tuple(limits),
        rankings=counts.rankings,
        warnings=(*truth.warnings, *doubts(detections, truth, limit)),
    )


def limit_of(federation: Federation, asked: int | None) -> int:
    """The limit of detections: the given one, else that of the ground truth's own protocol.

    Raises:
        SettingError: it is below that.
    """
    if federation.applies:
        own, whose = FEDERATED_MAX_DETECTIONS, "LVIS's own limit for an image"
    else:
        own, whose = MAX_DETECTIONS, "COCO's own limit for an image and class"
    if asked is not None and asked < own:
        raise SettingError(f"max-dets must be {own} ({whose}) or more, found {asked}")
    return own if asked is None else asked


def doubts(detections: Sequence[CocoDict], truth: CocoGroundTruth, limit: int) -> list[str]:
    """Warnings about the input as a whole."""
    found = crowded(truth, limit)
    if not detections:
        found.append("there are no detections at all: AP is 0")
    if not any(truth.counted.values()):
        found.append("the ground truth has no box that counts: AP has no value")
    known = set(truth.category_ids)
    foreign = sum(int(row["category_id"]) not in known for row in detections)
    if foreign:
        found.append(f"{foreign} of {len(detections)} detections name a category that the dataset does not have")
    return found


def crowded(truth: CocoGroundTruth, limit: int) -> list[str]:
    """A warning where an image has more objects than detections are counted: of a class, or, federated, of all."""
    over = {place: count for place, count in truth.objects_of_images().items() if count > limit}
    if not over:
        return []
    (_, category), most = max(over.items(), key=lambda pair: pair[1])
    images = len({image for image, _ in over})
    of_class, of_it, whose = (
        ("", "", "LVIS") if category is None else (" of a class", f" of {truth.name_of(category)!r}", "COCO")
    )
    return [
        f"{images} image{'s have' if images > 1 else ' has'} more than {limit} objects{of_class} (the most: "
        f"{most}{of_it}), of which {whose} counts {limit}: perfect detections cannot reach an AP of 100; "
        f"--max-dets {most} counts them all"
    ]


def mean_of_known(values: NDArray[np.float64]) -> float:
    """Mean over entries that are not pycocotools' -1; NaN where none is."""
    known = values[values > -1]  # -1: no ground truth
    return float(np.mean(known)) if known.size else float("nan")


def summary(precision: Floats, recall: Floats, limits: Sequence[int]) -> dict[str, float]:
    """precision [T,R,K,A,M], recall [T,K,A,M] under M limits -> AP of both and of sizes, and AR.

    AR of sizes is that of COCO's 100 detections, or of the only limit.
    """
    own = limits.index(MAX_DETECTIONS) if MAX_DETECTIONS in limits else len(limits) - 1
    values = {
        "AP": precision[:, :, :, 0, -1],
        "AP50": precision[0, :, :, 0, -1],  # IoU .50
        "AP75": precision[5, :, :, 0, -1],  # IoU .75
        **{f"AP{size}": precision[:, :, :, area, -1] for area, size in enumerate("sml", start=1)},  # 32², 96²
        **{f"AR{limit}": recall[:, :, 0, most] for most, limit in enumerate(limits[: own + 1])},
        **{f"AR{size}": recall[:, :, area, own] for area, size in enumerate("sml", start=1)},
    }
    return {name: mean_of_known(value) for name, value in values.items()}


def with_frequencies(
    whole: Mapping[str, float], precision: Floats, groups: Mapping[str, list[int]]
) -> dict[str, float]:
    """The numbers with APr, APc and APf after those of sizes."""
    done: dict[str, float] = {}
    for name, value in whole.items():
        done[name] = value
        if name == "APl":
            done |= {group: mean_of_known(precision[:, :, places, 0, -1]) for group, places in groups.items()}
    return done


def class_summary(counts: Counts, k: int, limits: Sequence[int]) -> dict[str, float]:
    """The numbers of one class that tables show."""
    whole = summary(counts.precision[:, :, k : k + 1], counts.recall[:, k : k + 1], limits)
    own = f"AR{MAX_DETECTIONS if MAX_DETECTIONS in limits else limits[-1]}"
    return {name: whole[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl", own)}
