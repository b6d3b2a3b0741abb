"""Intervals as ``results.json`` keeps them, and as text beside their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from detzoo.evaluation.intervals import LEVEL
from detzoo.evaluation.resampled_numbers import Resampled

METHOD: Final = "bias-corrected percentile of resamples, expanded for few images"


def interval_record(resampled: Resampled, *, level: float = LEVEL, classes: bool = True) -> dict[str, Any]:
    """Every number's interval, by metric and by class and metric: ``{low, high}``, 0..1, or ``{too_few}`` and why.

    Args:
        resampled: an evaluation's numbers.
        level: how often such intervals cover the truth.
        classes: each class's as well.
    """
    design = resampled.design
    return {
        "level": level,
        "method": METHOD,
        "drawn": design.unit,
        "number": len(set(design.units)),
        "resamples": design.resamples,
        "seed": design.seed,
        "metrics": _of(resampled, None, level),
        "per_class": {name: _of(resampled, name, level) for name in (resampled.per_class if classes else ())},
    }


def _of(resampled: Resampled, of_class: str | None, level: float) -> dict[str, dict[str, Any]]:
    """Numbers of a class, or of all; those without a value are left out."""
    own = resampled.metrics if of_class is None else resampled.per_class[of_class]
    drawn = resampled.values.metrics if of_class is None else resampled.values.per_class[of_class]
    found: dict[str, dict[str, Any]] = {}
    for metric, value in own.items():
        if metric not in drawn or math.isnan(value):
            continue
        interval = resampled.interval(metric, of_class, level=level)
        if interval is None:
            found[metric] = {"too_few": resampled.too_few(metric, of_class)}
        else:
            found[metric] = {"low": interval.low, "high": interval.high}
    return found


def beside(values: Mapping[str, Any], intervals: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers as text in percent with their intervals; what has none stays as it is."""
    return {name: _text(value, intervals[name]) if name in intervals else value for name, value in values.items()}


def _text(value: float, interval: Mapping[str, Any]) -> str:
    ends = "too few" if "too_few" in interval else f"{100 * interval['low']:.1f}, {100 * interval['high']:.1f}"
    return f"{100 * value:.1f} [{ends}]"


def explained(record: Mapping[str, Any]) -> str:
    """One line that says what the intervals are."""
    drawn = record["drawn"]
    text = (
        f"[low, high]: {100 * record['level']:g} % confidence interval; {record['resamples']} resamples of "
        f"{record['number']} {drawn}"
    )
    shown = (record["metrics"], *record["per_class"].values())
    if any("too_few" in fact for own in shown for fact in own.values()):
        return f"{text}; too few: objects of a class in too few {drawn} for an interval"
    return text
