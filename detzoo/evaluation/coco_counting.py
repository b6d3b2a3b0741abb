"""The engines' counting as arrays: of all classes at once, or class by class where ground truth is federated.

Letters: T IoU thresholds (.50:.05:.95), R recall points (0:.01:1), K categories, A areas (all, s, m, l), M limits of
detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.coco_truth import CocoGroundTruth, IouType
from detzoo.evaluation.engines import Engine, engine_module, silence
from detzoo.evaluation.rankings import Ranking, coco_rankings, empty_ranking


@dataclass(frozen=True)
class Counts:
    """What an engine has counted; -1 where no ground truth exists to answer.

    Args:
        precision: float64 [T,R,K,A,M].
        recall: float64 [T,K,A,M].
        scores: float64 [T,R,K,A,M]: the score at which each precision is reached.
        rankings: [K][A]: what the counts were made of, under the largest limit; None from an engine that keeps none.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]
    rankings: list[list[Ranking]] | None


def count(
    detections: Sequence[Mapping[str, Any]],
    truth: CocoGroundTruth,
    engine: Engine,
    iou_type: IouType,
    limits: Sequence[int],
) -> Counts:
    """Count detections under some limits of each image and class, which do not fall."""
    results = truth.results(detections, engine, iou_type)
    if truth.federation.applies:
        return _class_by_class(results, truth, engine, iou_type, limits)
    return _counted(results, truth, engine, iou_type, limits)


def _class_by_class(
    results: Any, truth: CocoGroundTruth, engine: Engine, iou_type: IouType, limits: Sequence[int]
) -> Counts:
    """The same numbers: each class is looked at in its own few images.

    The engines walk through every pair of image and class, 24 million of LVIS's validation images.
    """
    images: dict[int, set[int]] = {category: set() for category in truth.category_ids}
    for api in (truth.api(engine, iou_type), results):
        for entry in api.dataset["annotations"]:
            if entry["category_id"] in images:
                images[entry["category_id"]].add(entry["image_id"])
    nothing = Counts(
        np.full((10, 101, 1, 4, len(limits)), -1.0),
        np.full((10, 1, 4, len(limits)), -1.0),
        np.full((10, 101, 1, 4, len(limits)), -1.0),
        [[empty_ranking()] * 4],
    )
    found = [
        _counted(results, truth, engine, iou_type, limits, category, sorted(own)) if own else nothing
        for category, own in images.items()
    ]
    return Counts(
        np.concatenate([nothing.precision[:, :, :0], *(one.precision for one in found)], axis=2),
        np.concatenate([nothing.recall[:, :0], *(one.recall for one in found)], axis=1),
        np.concatenate([nothing.scores[:, :, :0], *(one.scores for one in found)], axis=2),
        None if engine == "faster" else [sizes for one in found for sizes in one.rankings or ()],
    )


def _counted(
    results: Any,
    truth: CocoGroundTruth,
    engine: Engine,
    iou_type: IouType,
    limits: Sequence[int],
    category: int | None = None,
    images: Sequence[int] = (),
) -> Counts:
    """Of all classes and images, or of one class in some images."""
    _, evaluator = engine_module(engine)
    with silence():  # pycocotools prints
        run = evaluator(truth.api(engine, iou_type), results, iou_type)
        run.params.maxDets = list(limits)
        if category is not None:
            run.params.catIds, run.params.imgIds = [category], list(images)
        run.evaluate()
        run.accumulate()
    shape = tuple(run.eval["counts"])
    precision = np.array(run.eval["precision"], dtype=np.float64).reshape(shape)
    # pycocotools divides by tp + fp + 2e-16: a perfect 1/1 becomes 0.9999999999999998. The C++ engine does not.
    precision[precision > 1 - 1e-12] = 1.0
    recall = np.asarray(run.eval["recall"], dtype=np.float64).reshape(shape[0], *shape[2:])
    scores = np.asarray(run.eval["scores"], dtype=np.float64).reshape(shape)
    return Counts(precision, recall, scores, None if engine == "faster" else coco_rankings(run))
