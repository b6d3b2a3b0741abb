"""How much of the ground truth a set of proposals covers, against their number.

Letters: P proposals of an image, best first; M objects of an image; n objects of all images; C numbers of proposals.

Boxes that the dataset calls difficult and boxes around crowds are no objects here: they are left out on both sides of
every fraction, as in VOC's and COCO's own evaluation, and a proposal on one of them costs nothing.

Source: Hosang et al., "What makes for effective detection proposals?" (PAMI 2015, arXiv:1502.05082), section 4. As in
the definition of average recall there, an object is answered by the proposal nearest to it, also where that one is the
nearest to another object too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detzoo.ops.boxes import iou_matrix
from detzoo.types import Sample

Overlaps = NDArray[np.float64]


def objects_of(sample: Sample) -> NDArray[np.float64]:
    """Boxes [M,4] xyxy px of a sample that proposals should cover: neither difficult nor crowds."""
    counted = ~(sample.difficult | sample.crowd)
    return sample.boxes[counted].astype(np.float64)


def overlap_matrix(boxes: NDArray[Any], others: NDArray[Any]) -> Overlaps:
    """IoU of every pair of boxes xyxy px: [P,4] and [M,4] -> float64 [P,M]."""
    a = torch.from_numpy(np.ascontiguousarray(boxes, np.float64).reshape(-1, 4))
    b = torch.from_numpy(np.ascontiguousarray(others, np.float64).reshape(-1, 4))
    overlaps: Overlaps = iou_matrix(a, b).numpy()
    return overlaps


def best_overlaps(boxes: NDArray[Any], objects: NDArray[Any], counts: Sequence[int]) -> Overlaps:
    """IoU of each object with the nearest of the first so many proposals.

    Args:
        boxes: [P,4] xyxy px, best first.
        objects: [M,4] xyxy px.
        counts: 1 or more each; where there are fewer proposals, all of them count.

    Returns:
        float64 [C,M]; zeros where there are no proposals.
    """
    if not len(boxes):
        return np.zeros((len(counts), len(objects)))
    best = np.maximum.accumulate(overlap_matrix(boxes, objects), axis=0)  # [P,M]
    return np.asarray(best[np.minimum(counts, len(boxes)) - 1])


def recall(overlaps: Overlaps, iou: float) -> NDArray[np.float64]:
    """Share of the objects [..,n] that are covered with an IoU of at least ``iou``; NaN without objects."""
    if overlaps.shape[-1] == 0:
        return np.full(overlaps.shape[:-1], np.nan)
    return np.asarray((overlaps >= iou).mean(axis=-1))


def average_recall(overlaps: Overlaps) -> NDArray[np.float64]:
    """Twice the area under recall over IoU 0.5 to 1: 2/n sum_i max(IoU_i - 0.5, 0) of objects [..,n], exactly.

    NaN without objects.

    Source: Hosang et al., section 4.3 (their AR). COCO's AR is another: the mean of recall at ten thresholds.
    """
    if overlaps.shape[-1] == 0:
        return np.full(overlaps.shape[:-1], np.nan)
    return np.asarray(2 * np.maximum(overlaps - 0.5, 0).mean(axis=-1))
