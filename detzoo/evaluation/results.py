"""Evaluation: the numbers of one detector on one dataset, with all that is needed to read them, and its two files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from detzoo.errors import DataError
from detzoo.evaluation.classes import class_names
from detzoo.evaluation.coco_map import CocoResult, coco_map, limit_of
from detzoo.evaluation.coco_truth import CocoGroundTruth
from detzoo.evaluation.engines import Engine
from detzoo.evaluation.federation import words
from detzoo.evaluation.interval_record import interval_record
from detzoo.evaluation.intervals import LEVEL, Interval
from detzoo.evaluation.matches import Matches, Rules, matches_of
from detzoo.evaluation.resampled_numbers import Resampled, resample
from detzoo.evaluation.voc_map import VocProtocol, average_precision, group_boxes, match, mean_ap
from detzoo.runtime.atomic_files import check_writable, write_text
from detzoo.runtime.environment import versions
from detzoo.runtime.foreign_files import is_folder, is_there
from detzoo.runtime.json_text import load_json

FORMAT: Final = "detzoo.results/1"
FILES: Final = (
    "results.json", "detections.json", "curves.json", "pr_curves.csv", "confusion.csv", "pr_curves.png",
    "confusion.png",
)  # fmt: skip
"""Names in the folder of an evaluation, those of its curves among them."""


@dataclass(frozen=True)
class Evaluation:
    """How well a set of detections answers a set of ground truth.

    Args:
        metrics: COCO's twelve numbers (AP, AP50, ...), voc07_AP50, voc10_AP50, and mask_AP, ... where there are masks;
            0..1, NaN where no ground truth exists to answer. Of federated ground truth LVIS's thirteen, without VOC's.
        per_class: class name -> AP, AP50, AP75, APs, APm, APl, AR100, voc07_AP50, voc10_AP50, ground_truths,
            detections.
        detections: COCO result rows, with the dataset's category ids.
        ground_truth: COCO ground truth that they were held against.
        coco: precision by IoU, recall and class, for curves.
        masks: the same by the overlap of masks; None where there are none.
        rules: how it was counted.
        groups: image id -> group of images that is resampled as a whole; None: each image stands for itself.
        intervals: of its numbers, once ``with_intervals`` has made them (see ``interval_record``).
        facts: protocol, model, dataset, counts, versions, device.
        warnings: what the reader should know before believing the numbers.
    """

    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    detections: Sequence[Mapping[str, Any]]
    ground_truth: Mapping[str, Any]
    coco: CocoResult
    masks: CocoResult | None = None
    rules: Rules = field(default_factory=Rules)
    groups: Mapping[Any, Any] | None = None
    intervals: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @cached_property
    def matches(self) -> Matches:
        """What its numbers are sums of: for resampling."""
        return matches_of(self.detections, self.ground_truth, self.rules, boxes=self.coco, masks=self.masks)

    @cached_property
    def resampled(self) -> Resampled:
        """Its numbers, and those of 2,000 resamples of its images, or groups of images; ``resample`` draws others."""
        return resample([self])[0]

    def interval(self, metric: str, of_class: str | None = None, *, level: float = LEVEL) -> Interval | None:
        """The confidence interval of a number over images; None where too few of them have objects.

        Args:
            metric: AP, AP50, APs, AR100, voc07_AP50, mask_AP, ...
            of_class: name of a class; None for all.
            level: how often such intervals cover the truth.

        Raises:
            SettingError: no such number or class, or the level is not between 0 and 1.
        """
        return self.resampled.interval(metric, of_class, level=level)

    def with_intervals(self) -> Evaluation:
        """The same with the intervals of all numbers, to be written."""
        return replace(self, intervals=interval_record(self.resampled))

    def as_dict(self) -> dict[str, Any]:
        """What results.json holds; NaN becomes null."""
        return {
            "format": FORMAT,
            "metrics": plain(self.metrics),
            "per_class": plain(self.per_class),
            **({} if self.intervals is None else {"intervals": plain(self.intervals)}),
            **plain(self.facts),
            "warnings": list(self.warnings),
        }

    def write(self, folder: str | Path) -> Path:
        """Write results.json and detections.json (COCO form) into ``folder``, made if need be.

        Returns:
            the path of results.json.

        Raises:
            DataError: a file of that name is there which detzoo did not write.
        """
        folder = Path(folder)
        refuse_foreign(folder)  # a folder given by mistake keeps its files
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "detections.json", json.dumps([dict(row) for row in self.detections]))
        write_text(folder / "results.json", json.dumps(self.as_dict(), indent=1) + "\n")
        return folder / "results.json"


def evaluate_detections(
    detections: Sequence[Mapping[str, Any]],
    ground_truth: Mapping[str, Any],
    *,
    engine: Engine = "pycocotools",
    honour_ignore: bool = True,
    max_detections: int | None = None,
    voc: VocProtocol | None = None,
    groups: Mapping[Any, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> Evaluation:
    """Score detections, whoever made them.

    Args:
        detections: COCO result rows: image_id, category_id, bbox xywh px, score; segmentation where there are masks.
        ground_truth: COCO ground truth; boxes with ``ignore`` (difficult) or ``iscrowd`` count neither way.
        engine: pycocotools, or faster-coco-eval (an extra).
        honour_ignore: False counts difficult boxes in the COCO numbers, as pycocotools itself would.
        max_detections: that AP looks at, see ``coco_map``.
        voc: how VOC AP matches and reads recall; its ``metric`` plays no part, both are counted.
        groups: image id -> group; intervals resample groups as a whole (frames of a video, tiles of a scene).
        facts: what else belongs into results.json.
        warnings: put before those of the scoring.

    Raises:
        SettingError: a limit of detections below the protocol's own.
    """
    choices = voc or VocProtocol()
    truth = CocoGroundTruth(ground_truth, honour_ignore=honour_ignore)
    limit = limit_of(truth.federation, max_detections)
    boxes = coco_map(detections, truth, engine=engine, max_detections=limit)
    metrics = dict(boxes.metrics)
    classes = class_names(ground_truth)
    per_class = {c: dict(values) for c, values in boxes.per_class.items()}
    masks = None
    if truth.has_masks and any("segmentation" in row for row in detections):
        outlined = [row for row in detections if "segmentation" in row]
        masks = coco_map(outlined, truth, iou_type="segm", engine=engine, max_detections=limit)
        metrics |= {f"mask_{name}": value for name, value in masks.metrics.items()}
        for category, values in masks.per_class.items():
            per_class[category]["mask_AP"] = values["AP"]
    elif any("segmentation" in row for row in detections):
        warnings = [*warnings, "there is no mask AP: not every object of the ground truth has a segmentation"]
    by_metric = {} if truth.federation.applies else voc_numbers(detections, ground_truth, choices)
    for metric, by_category in by_metric.items():
        metrics[metric] = mean_ap(by_category)
        for category, value in by_category.items():
            per_class[category][metric] = value
    count_rows(per_class, detections, truth)
    protocol = protocol_of(engine, truth, limit, choices)
    given = dict(facts or {})
    given["protocol"] = protocol | given.get("protocol", {})
    return Evaluation(
        metrics=metrics,
        per_class={classes[category]: values for category, values in per_class.items()},
        detections=detections,
        ground_truth=ground_truth,
        coco=boxes,
        masks=masks,
        rules=Rules(honour_ignore, limit, choices),
        groups=groups,
        facts=with_counts(given, detections, ground_truth),
        warnings=tuple(dict.fromkeys((*warnings, *boxes.warnings))),  # each once, in order
    )


VOC: Final[Mapping[str, Literal["11point", "area"]]] = {"voc07_AP50": "11point", "voc10_AP50": "area"}


def voc_numbers(
    detections: Sequence[Mapping[str, Any]], ground_truth: Mapping[str, Any], choices: VocProtocol
) -> dict[str, dict[int, float]]:
    """VOC AP by metric name and category: matched once, counted twice."""
    found: dict[str, dict[int, float]] = {name: {} for name in VOC}
    for category, boxes in group_boxes(detections, ground_truth).items():
        matches = match(boxes, choices)  # both VOC metrics match alike
        for name, metric in VOC.items():
            found[name][category] = average_precision(matches, replace(choices, metric=metric))
    return found


def count_rows(
    per_class: dict[int, dict[str, float]], detections: Sequence[Mapping[str, Any]], truth: CocoGroundTruth
) -> None:
    """Add how many boxes each class has on either side."""
    counted = truth.counted
    for category, values in per_class.items():
        values["ground_truths"] = counted.get(category, 0)
        values["detections"] = 0
    for row in detections:
        if int(row["category_id"]) in per_class:
            per_class[int(row["category_id"])]["detections"] += 1


def protocol_of(engine: Engine, truth: CocoGroundTruth, limit: int, voc: VocProtocol) -> dict[str, Any]:
    """How the counting was done."""
    coco = {
        "iou": ".50:.05:.95",
        "max_detections": limit,  # of each image and class; federated: of each image
        "crowd": "ignored",
        "difficult": "ignored" if truth.honour_ignore else "counted",
    }
    if truth.federation.applies:  # without VOC's numbers, which know no class that nobody looked for
        return {"engine": engine, "counting": words(limit), "coco": coco}
    return {
        "engine": engine,
        "coco": coco,
        "voc": {
            "iou": voc.iou,
            "difficult": "ignored",
            "plus_one_sizes": voc.legacy_plus_one,
            "match_at_threshold": voc.inclusive,
            "recall_steps": voc.recall_steps,
        },
    }


def with_counts(
    facts: dict[str, Any], detections: Sequence[Mapping[str, Any]], ground_truth: Mapping[str, Any]
) -> dict[str, Any]:
    """Facts with the sizes of the two sides."""
    counts = {
        "images": len(ground_truth["images"]),
        "annotations": len(ground_truth["annotations"]),
        "detections": len(detections),
    }
    facts["counts"] = counts | facts.get("counts", {})
    facts.setdefault("class_map", {str(c["name"]): int(c["id"]) for c in ground_truth["categories"]})
    facts.setdefault("versions", versions())
    return facts


def plain(value: Any) -> Any:
    """JSON has no NaN; null says the same."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def refuse_foreign(folder: Path) -> None:
    """Only files that an earlier evaluation wrote may be overwritten: a folder with its results.json is one.

    Raises:
        OSError: nothing may be written there.
        DataError: a file of one of an evaluation's names is there, and no results.json of an evaluation.
    """
    if is_there(folder) and not is_folder(folder):
        raise DataError(f"{folder} is a file; --out takes a folder")
    results = folder / "results.json"
    ours = False
    if is_there(results):
        try:
            ours = load_json(results).get("format") == FORMAT
        except (DataError, AttributeError):
            ours = False
    for path in (folder / name for name in FILES):
        if os.path.lexists(path) and not ours:
            raise DataError(f"{path} exists and was not written by detzoo eval; choose another folder or move it")
    check_writable(folder)
