"""Calibration and thresholds of an evaluation: added to it, and as text for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from detzoo.data import list_splits
from detzoo.data.formats.opening import evaluation_split
from detzoo.data.formats.split_names import with_role
from detzoo.errors import DetzooError
from detzoo.evaluation.score_records import calibration_record, scored_by_name, threshold_record
from detzoo.runtime.text_table import FEW, MISSING, Column, Table

if TYPE_CHECKING:
    from detzoo.evaluation.results import Evaluation
    from detzoo.evaluation.thresholds import ThresholdRule

CALIBRATION: Final = "calibration"
THRESHOLDS: Final = "thresholds"
ALL: Final = "all classes"
CALIBRATION_COLUMNS: Final = (
    Column("class", "class", None),
    Column("d_ece", "D-ECE %", 1, 100.0),
    Column("detections", "of detections", 0),
    Column("olrp", "oLRP %", 1, 100.0),
    Column("threshold", "at score", 3),
    Column("localisation", "1 - IoU %", 1, 100.0),
    Column("false_positive", "1 - precision %", 1, 100.0),
    Column("false_negative", "1 - recall %", 1, 100.0),
    Column("objects", "boxes", 0),
)
SIDES: Final = ("chosen", "reported")
KEPT: Final = {"precision": "precision %", "recall": "recall %", "f1": "F1 %"}


def choosing_split(data: str, split: str | None, choose_on: str | None) -> str:
    """The split that thresholds are chosen on: the given one, else that of validation.

    Args:
        data: as ``open_dataset`` takes it.
        split: that is reported.
        choose_on: as given.

    Raises:
        DetzooError: there is none, or it is the one that is reported.
    """
    there = list_splits(data)
    chosen = choose_on or next(iter(with_role(there, "val")), None)
    if chosen is None:
        raise DetzooError(f"--thresholds: no split for validation; name one with --choose-on: {', '.join(there)}")
    if chosen == evaluation_split(data, split):
        raise DetzooError(
            f"--thresholds: {chosen} would choose and report them, and they would look better than they are; "
            f"name another split with --choose-on or --split: {', '.join(there)}"
        )
    return chosen


def with_calibration(evaluation: Evaluation) -> Evaluation:
    """The same with D-ECE, reliability diagrams and oLRP among its facts."""
    record = calibration_record(scored_by_name(evaluation))
    return dataclasses.replace(evaluation, facts=evaluation.facts | {CALIBRATION: record})


def with_thresholds(evaluation: Evaluation, chosen_on: Evaluation, rule: ThresholdRule) -> Evaluation:
    """The same with thresholds that the detector's other evaluation has chosen.

    Raises:
        DataError: see ``threshold_record``.
    """
    splits = tuple(str(one.facts["data"]["split"]) for one in (chosen_on, evaluation))
    record = threshold_record(rule, chosen_on, evaluation, (splits[0], splits[1]))
    return dataclasses.replace(evaluation, facts=evaluation.facts | {THRESHOLDS: record})


def score_text(facts: Mapping[str, Any], width: int) -> list[str]:
    """The tables of what an evaluation knows of its scores."""
    tables = []
    if CALIBRATION in facts:
        tables.append(calibration_table(facts[CALIBRATION]))
    if THRESHOLDS in facts:
        tables.append(threshold_table(facts[THRESHOLDS]))
    return [table.terminal(width) for table in tables]


def calibration_table(record: Mapping[str, Any]) -> Table:
    """D-ECE and oLRP of each class."""
    classes = [
        own | {"class": name, "detections": sum(own["reliability"]["counts"])}
        for name, own in record["per_class"].items()
    ]
    whole = {key: record[key] for key in ("d_ece", "olrp")}
    whole |= {"class": ALL, "detections": sum(record["reliability"]["counts"])}
    whole["objects"] = sum(own["objects"] for own in classes)
    notes = [
        f"D-ECE: mean gap between score and precision, of detections from a score of {record['least_score']:g} on "
        f"(IoU {record['iou']:g}; 20 bins); oLRP: boxes, false positives and "
        "misses in one error, at the score that makes it least"
    ]
    return Table("calibration", CALIBRATION_COLUMNS, [whole, *classes], notes)


def threshold_table(record: Mapping[str, Any]) -> Table:
    """What thresholds keep, where they were chosen and where they are reported."""
    names = {side: record[f"{side}_on"] for side in SIDES}
    columns = [Column("class", "class", None), Column("score", "from score", 3)]
    for side in SIDES:
        columns += [Column(f"{side}_{key}", f"{title} {names[side]}", 1, 100.0) for key, title in KEPT.items()]
    columns += [Column(f"{side}_objects", f"boxes {names[side]}", 0) for side in SIDES]
    rows = [{"class": ALL, **threshold_cells(record["all"])}]
    rows += [{"class": name, **threshold_cells(own)} for name, own in record["per_class"].items()]
    few = [name for name, own in record["per_class"].items() if own["chosen"]["objects"] < FEW]
    none = [name for name, own in record["per_class"].items() if own["score"] is None]
    notes = [f"{record['rule']}, chosen on {names['chosen']}; a detection is right from IoU {record['iou']:g} on"]
    notes += [f"chosen by fewer than {FEW} boxes, and uncertain: {', '.join(few)}"] if few else []
    notes += [f"{MISSING}: no score of {names['chosen']} does it, all are dropped: {', '.join(none)}"] if none else []
    return Table(THRESHOLDS, columns, rows, notes)


def threshold_cells(own: Mapping[str, Any]) -> dict[str, Any]:
    """One row's numbers."""
    return {"score": own.get("score")} | {f"{side}_{key}": value for side in SIDES for key, value in own[side].items()}
