"""What an evaluation says of scores, as ``results.json`` keeps it: calibration, oLRP, and thresholds for use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from detzoo.errors import DataError
from detzoo.evaluation.calibration import SCORED_FROM, Reliability, calibration_error, reliability
from detzoo.evaluation.classes import class_names
from detzoo.evaluation.judging import FOREGROUND
from detzoo.evaluation.lrp import mean_lrp, optimal_lrp
from detzoo.evaluation.scored_classes import ScoredClass, scored_classes
from detzoo.evaluation.thresholds import ClassThreshold, Kept, ThresholdRule, class_thresholds

if TYPE_CHECKING:
    from detzoo.evaluation.results import Evaluation


def scored_by_name(evaluation: Evaluation) -> dict[str, ScoredClass]:
    """The detections of each class by its name, see ``scored_classes``."""
    names = class_names(evaluation.ground_truth)
    found = scored_classes(evaluation.detections, evaluation.ground_truth)
    return {names[category]: own for category, own in found.items()}


def calibration_record(scored: Mapping[str, ScoredClass]) -> dict[str, Any]:
    """D-ECE, the reliability diagram and oLRP, of all classes and of each.

    Args:
        scored: class name -> detections.
    """
    optimal = {name: optimal_lrp(own) for name, own in scored.items()}
    classes = list(scored.values())
    return {
        "iou": FOREGROUND,
        "least_score": SCORED_FROM,
        "d_ece": calibration_error(classes),
        "d_ece_box": calibration_error(classes, by="box"),
        "olrp": mean_lrp(list(optimal.values())),
        "reliability": reliability_record(reliability(classes)),
        "per_class": {
            name: {
                "objects": own.objects,
                "d_ece": calibration_error([own]),
                "olrp": None if (best := optimal[name]) is None else best.value,
                "threshold": None if best is None else best.threshold,
                "localisation": None if best is None else best.localisation,
                "false_positive": None if best is None else best.false_positive,
                "false_negative": None if best is None else best.false_negative,
                "reliability": reliability_record(reliability([own])),
            }
            for name, own in scored.items()
        },
    }


def reliability_record(diagram: Reliability) -> dict[str, Any]:
    """Bins as JSON."""
    return dataclasses.asdict(diagram)


def threshold_record(
    rule: ThresholdRule, chosen_on: Evaluation, reported_on: Evaluation, splits: tuple[str, str]
) -> dict[str, Any]:
    """Thresholds of each class and what they keep, where they were chosen and on other images.

    Args:
        rule: how they are chosen.
        chosen_on: the same detector on the images that choose.
        reported_on: and on those that report.
        splits: what the two are called.

    Raises:
        DataError: an image stands in both, or they have no class of one name.
    """
    shared = file_names(chosen_on) & file_names(reported_on)
    if shared:
        raise DataError(
            f"{len(shared)} images (the first: {min(shared)}) are in {splits[0]}, which chooses thresholds, and in "
            f"{splits[1]}, which reports them: they would look better than they are; choose on another split"
        )
    found = class_thresholds(rule, scored_by_name(chosen_on), scored_by_name(reported_on))
    if not found:
        raise DataError(f"{splits[0]} and {splits[1]} have no class of one name: no threshold can be chosen")
    chosen = sum((one.chosen for one in found.values()), Kept(0, 0, 0))
    reported = sum((one.reported for one in found.values()), Kept(0, 0, 0))
    return {
        "rule": str(rule),
        "iou": FOREGROUND,
        "chosen_on": splits[0],
        "reported_on": splits[1],
        "all": {"chosen": kept_record(chosen), "reported": kept_record(reported)},
        "per_class": {name: class_record(one) for name, one in found.items()},
    }


def class_record(one: ClassThreshold) -> dict[str, Any]:
    """One class's threshold as JSON."""
    return {"score": one.score, "chosen": kept_record(one.chosen), "reported": kept_record(one.reported)}


def kept_record(kept: Kept) -> dict[str, Any]:
    """Counts and what they come to."""
    return dataclasses.asdict(kept) | {"precision": kept.precision, "recall": kept.recall, "f1": kept.f1}


def file_names(evaluation: Evaluation) -> set[str]:
    """Paths of the images, where they are known."""
    return {str(image["file_name"]) for image in evaluation.ground_truth["images"] if image.get("file_name")}
