"""The matches behind all numbers of an evaluation: COCO's, those of masks, and VOC's.

Letters: K categories, A sizes (all, s, m, l).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from detzoo.evaluation.classes import class_names
from detzoo.evaluation.coco_map import CocoResult, coco_map, limit_of
from detzoo.evaluation.coco_truth import CocoDict, CocoGroundTruth, IouType
from detzoo.evaluation.rankings import Ranking, voc_ranking
from detzoo.evaluation.voc_map import VocProtocol, group_boxes

TENTHS: Final = tuple(tenth / 10 for tenth in range(11))


@dataclass(frozen=True)
class Rules:
    """What of the counting can be chosen.

    Args:
        honour_ignore: whether difficult boxes count neither way.
        max_detections: that AP looks at; None for the protocol's own limit.
        voc: how VOC AP matches and reads recall.
    """

    honour_ignore: bool = True
    max_detections: int | None = None
    voc: VocProtocol = field(default_factory=VocProtocol)


@dataclass(frozen=True)
class Matches:
    """What all numbers of one evaluation are sums of.

    Args:
        images: their ids, in the order of their numbers.
        names: of classes, by category id.
        coco: category id -> rankings by size [A].
        limits: of detections; the last one is that of AP.
        masks: the same as ``coco`` by the overlap of masks; empty where there are none.
        voc: category id -> ranking; empty where VOC's numbers are not counted.
        voc07: the eleven recalls, as they are compared with ``found / objects``.
        frequencies: APr, APc, APf -> category ids, of federated ground truth.
    """

    images: Sequence[Any]
    names: Mapping[int, str]
    coco: Mapping[int, Sequence[Ranking]]
    limits: Sequence[int]
    masks: Mapping[int, Sequence[Ranking]] = field(default_factory=dict)
    voc: Mapping[int, Ranking] = field(default_factory=dict)
    voc07: Sequence[float] = ()
    frequencies: Mapping[str, Sequence[int]] = field(default_factory=dict)


def matches_of(
    detections: Sequence[CocoDict],
    ground_truth: CocoDict,
    rules: Rules,
    *,
    boxes: CocoResult | None = None,
    masks: CocoResult | None = None,
) -> Matches:
    """Matches of detections; what was matched before is taken, where the engine kept it.

    Args:
        detections: COCO result rows.
        ground_truth: COCO ground truth.
        rules: how they are counted.
        boxes: counted before.
        masks: counted before; None where no masks are counted.
    """
    truth = CocoGroundTruth(ground_truth, honour_ignore=rules.honour_ignore)

    def counted(found: CocoResult | None, iou_type: IouType) -> CocoResult:
        if found is not None and found.rankings is not None:
            return found
        rows = detections if iou_type == "bbox" else [row for row in detections if "segmentation" in row]
        return coco_map(rows, truth, iou_type=iou_type, max_detections=limit_of(truth.federation, rules.max_detections))

    result = counted(boxes, "bbox")
    outlined = None if masks is None else counted(masks, "segm")
    federated = truth.federation.applies
    number = {image: n for n, image in enumerate(truth.image_ids)}
    voc_boxes = {} if federated else group_boxes(detections, ground_truth)
    frequencies = truth.federation.of_frequency(result.category_ids) if federated else {}
    return Matches(
        images=truth.image_ids,
        names=class_names(ground_truth),
        coco=dict(zip(result.category_ids, result.rankings or (), strict=True)),
        limits=result.limits,
        masks=dict(zip(outlined.category_ids, outlined.rankings or (), strict=True)) if outlined else {},
        voc={category: voc_ranking(own, rules.voc, number) for category, own in voc_boxes.items()},
        voc07=TENTHS if rules.voc.recall_steps == "exact" else tuple(np.arange(0.0, 1.1, 0.1).tolist()),
        frequencies={name: [result.category_ids[place] for place in places] for name, places in frequencies.items()},
    )
