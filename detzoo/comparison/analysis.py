"""Data of the page in addition to the table, computed once from detections and stored next to the numbers."""

from __future__ import annotations

from typing import Any, Final

from detzoo.comparison.class_differences import class_facts
from detzoo.comparison.ties import RESAMPLED, resampled_ap
from detzoo.evaluation import Evaluation
from detzoo.evaluation.classes import class_names
from detzoo.evaluation.curves import SHOWN_FROM, confusion, pr_curves
from detzoo.evaluation.f1_curves import F1Curve, f1_of_classes, mean_curve
from detzoo.evaluation.interval_record import interval_record
from detzoo.evaluation.results import plain
from detzoo.evaluation.score_records import calibration_record
from detzoo.evaluation.scored_classes import scored_classes
from detzoo.evaluation.tide import error_split

DRAWN_FROM: Final = SHOWN_FROM
"""Score of detections that are drawn, and that the confusion matrix counts."""


def analyse(evaluation: Evaluation) -> dict[str, Any]:
    """Curves, confusion and errors, as JSON.

    Returns:
        ``precision``: class -> IoU in percent -> precision at recall 0, .01, ... 1; ``confusion``: classes, counts,
        score, iou; ``errors``: ap50, counts, gains, and gains per class; ``f1``: mean and by class, each with the
        curve, the threshold of its highest value, and that value; ``calibration``: see ``calibration_record``;
        ``intervals``: metric -> low, high, of those that have one; ``resampled``: AP by resample (``ties``), and
        of each class its AP and the units with an object of it.
    """
    truth = evaluation.ground_truth
    names = class_names(truth)
    precision: dict[str, dict[str, list[float]]] = {}
    for curve in pr_curves(evaluation.coco, names):
        precision.setdefault(curve.name, {})[f"{100 * curve.iou:.0f}"] = curve.precision.round(4).tolist()
    matrix = confusion(evaluation.detections, truth, score=DRAWN_FROM)
    split = error_split(evaluation.detections, truth)
    scored = scored_classes(evaluation.detections, truth)
    f1 = f1_of_classes(scored)
    mean = mean_curve(f1)
    done: dict[str, Any] = plain(
        {
            "precision": precision,
            "confusion": {
                "classes": [*names.values(), "background"],
                "counts": matrix.counts.tolist(),
                "score": matrix.score,
                "iou": matrix.iou,
            },
            "errors": {
                "ap50": split.ap50,
                "counts": split.counts,
                "gains": split.gains,
                "per_class": {names[category]: gains for category, gains in split.per_class.items()},
            },
            "f1": {
                "mean": None if mean is None else curve_json(mean),
                "per_class": {names[category]: curve_json(curve) for category, curve in f1.items()},
            },
            "calibration": calibration_record({names[category]: own for category, own in scored.items()}),
            "intervals": interval_ends(evaluation),
            RESAMPLED: resampled_ap(evaluation) | {"classes": class_facts(evaluation)},
        }
    )
    return done


def interval_ends(evaluation: Evaluation) -> dict[str, list[float]]:
    """Metric -> both ends of its confidence interval; those with too few images are left out."""
    known = interval_record(evaluation.resampled, classes=False)["metrics"]
    return {name: [own["low"], own["high"]] for name, own in known.items() if "too_few" not in own}


def curve_json(curve: F1Curve) -> dict[str, Any]:
    """A curve and its best threshold."""
    return {"f1": curve.f1.round(4).tolist(), "threshold": curve.threshold, "best": curve.best}
