"""Detections by falling score with the images that they lie in: all that AP of any choice of images needs.

Matching looks at one image at a time. So it is done once: leaving images out or counting them twice changes sums only.

Letters: T IoU thresholds (.50:.05:.95), K categories, A sizes of objects (all, s, m, l), D detections, G objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detzoo.evaluation.voc_map import VocBoxes, VocProtocol, counted_matches

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """One class at one size of objects.

    Args:
        images: int64 [D]: number of the image of each detection, by falling score.
        places: int64 [D]: the detection's place among those of its class in its image, from 0.
        true: bool [T,D]: found an object.
        counted: bool [T,D]: true or false positive; others lie on crowd or ignored boxes, or are of another size.
        objects: int64 [G]: number of the image of each object that is to be found.
    """

    images: Ints
    places: Ints
    true: Bools
    counted: Bools
    objects: Ints


def empty_ranking() -> Ranking:
    """Of a class that nobody looked for."""
    none, nowhere = np.zeros((10, 0), dtype=bool), np.zeros(0, dtype=np.int64)
    return Ranking(nowhere, nowhere, none, none, nowhere)


def coco_rankings(run: Any) -> list[list[Ranking]]:
    """What pycocotools' ``COCOeval.evaluate`` has matched, by category and size [K][A].

    Args:
        run: a ``COCOeval`` whose image ids are numbers from 1.
    """
    params = run.params
    sizes, images = len(params.areaRng), len(params.imgIds)
    rows = [run.evalImgs[n * images : (n + 1) * images] for n in range(len(params.catIds) * sizes)]
    found = [_ranking([row for row in of_one if row is not None]) for of_one in rows]
    return [found[start : start + sizes] for start in range(0, len(found), sizes)]


def _ranking(rows: Sequence[dict[str, Any]]) -> Ranking:
    """One category and size, from its images with objects or detections, in the order of image ids."""
    if not rows:
        return empty_ranking()
    numbers = np.array([row["image_id"] for row in rows], dtype=np.int64) - 1
    lengths = np.array([len(row["dtScores"]) for row in rows], dtype=np.int64)
    images = np.repeat(numbers, lengths)
    places = np.arange(len(images)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    scores = np.concatenate([row["dtScores"] for row in rows])
    ignored = np.concatenate([row["dtIgnore"] for row in rows], axis=1).astype(bool)
    matched = np.concatenate([row["dtMatches"] for row in rows], axis=1) > 0
    order = np.argsort(-scores, kind="mergesort")  # as pycocotools: ties in the order of images
    order = order[~ignored[:, order].all(axis=0)]  # never counted: nothing depends on it
    counted = ~ignored[:, order]
    objects = np.repeat(numbers, [np.count_nonzero(row["gtIgnore"] == 0) for row in rows])
    return Ranking(images[order], places[order], matched[:, order] & counted, counted, objects)


def voc_ranking(boxes: VocBoxes, protocol: VocProtocol, number: dict[Any, int]) -> Ranking:
    """One class as VOC matches it, at its one IoU: T is 1.

    Args:
        boxes: of the class.
        protocol: how they are matched.
        number: of each image, from 0.
    """
    true, counted = counted_matches(boxes, protocol)
    images = np.array([number[image] for image in boxes.images], dtype=np.int64)[counted]
    objects = [number[image] for image, (_, difficult) in boxes.truth.items() for hard in difficult if not hard]
    return Ranking(
        images,
        np.zeros_like(images),
        true[None, counted],
        np.ones((1, len(images)), dtype=bool),
        np.array(objects, dtype=np.int64),
    )
