"""AP over the number of training images: trainings on parts of them, and what more images are expected to give."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detzoo.comparison.entry import ANALYSIS
from detzoo.comparison.seed_table import ONE_SEED, values_of
from detzoo.comparison.settling import units_of
from detzoo.comparison.ties import RESAMPLED, comparable, interval_cells
from detzoo.data import open_dataset
from detzoo.data.nested_subsets import missing_classes, nested_subset
from detzoo.evaluation.intervals import ENOUGH, LEVEL, Support
from detzoo.evaluation.power_law import CurvePoint, Gain, LearningCurve, learning_curve
from detzoo.evaluation.seeds import SeedValues
from detzoo.runtime.json_text import load_json
from detzoo.runtime.text_table import Column, Table

if TYPE_CHECKING:
    from detzoo.comparison.candidates import Candidate
    from detzoo.comparison.plan import ComparisonPlan

COLUMNS: Final = (
    Column("name", "detector", None),
    Column("images", "training images", 0),
    Column("fraction", "of all", 2),
    Column("seeds", "seeds", 0),
    Column("AP", "AP %, mean", 1, 100.0),
    Column("AP_interval", f"AP {100 * LEVEL:g} %", None),
    Column("AP_low", "AP from", 1, 100.0, only_in_files=True),
    Column("AP_high", "AP to", 1, 100.0, only_in_files=True),
    Column("spread", "± over seeds", 1, 100.0),
)
STEPS: Final = 40
"""Numbers of images at which a band is drawn."""


@dataclass(frozen=True)
class DataCurve:
    """One recipe's curve.

    Args:
        name: of the recipe.
        fractions: of the training images, by point.
        curve: its points and their fit.
        support: test images (or groups) with objects.
        units: test images, or groups, in all.
    """

    name: str
    fractions: tuple[float, ...]
    curve: LearningCurve
    support: Support
    units: int

    @property
    def gains(self) -> list[Gain]:
        """What half as many more images are expected to give, and as many again."""
        most = self.curve.points[-1].images
        return [self.curve.gain(max(1, most // 2)), self.curve.gain(most)]

    def asked(self) -> list[float]:
        """Numbers of images for a drawing: from the fewest to twice the most, evenly on a logarithmic axis."""
        points = self.curve.points
        return [float(n) for n in np.geomspace(points[0].images, 2 * points[-1].images, STEPS)]


@dataclass(frozen=True)
class DataCurves:
    """All curves of a comparison.

    Args:
        curves: of each recipe that has points.
        table: a row per point.
        words: what more images are expected to give, one sentence per recipe.
    """

    curves: list[DataCurve]
    table: Table
    words: list[str]

    def json(self) -> str:
        """Points, fits with their bands, and gains; AP as 0 to 1."""
        rows = json.loads(self.table.json())
        return json.dumps(rows | {"curves": [curve_json(one) for one in self.curves]}, indent=1) + "\n"


def data_curves(plan: ComparisonPlan, candidates: Sequence[Candidate], title: str) -> DataCurves | None:
    """The curves of the detectors that were trained on several parts; None where there are none.

    Args:
        plan: of the comparison.
        candidates: those that were evaluated.
        title: of the data.
    """
    if len(plan.fractions) < 2:
        return None
    trained = [one for one in candidates if one.training is not None]
    folders = {one.name: plan.out / "detectors" / one.name for one in trained}
    known = {n: fact for n, one in enumerate(trained) if (fact := resampled_of(folders[one.name])) is not None}
    facts = {trained[n].name: fact for n, fact in comparable(known).items()}
    curves = []
    for recipe in dict.fromkeys(one.recipe for one in trained if one.name in facts):
        curves.append(curve_of([one for one in trained if one.recipe == recipe and one.name in facts], facts, folders))
    if not curves:
        return None
    words = [f"{one.name}: {one.gains[1].words()}" for one in curves]
    return DataCurves(curves, table_of(plan, title, curves, next(iter(facts.values())), words), words)


def resampled_of(folder: Path) -> dict[str, Any] | None:
    """AP by resample, of a row that is evaluated."""
    fact: dict[str, Any] | None = load_json(folder / ANALYSIS).get(RESAMPLED)
    return fact


def images_of(folder: Path) -> int:
    """Images that a row's detector has learned from."""
    return int(load_json(folder / "results.json")["model"]["weights"]["trained_on"]["images"])


def curve_of(
    members: Sequence[Candidate], facts: Mapping[str, dict[str, Any]], folders: Mapping[str, Path]
) -> DataCurve:
    """The curve of one recipe.

    Args:
        members: its trainings.
        facts: name -> AP by resample.
        folders: name -> of its results.
    """
    points = []
    fractions = sorted({one.fraction for one in members})
    for fraction in fractions:
        own = [one for one in members if one.fraction == fraction]
        drawn = [facts[one.name] for one in own]
        values = SeedValues(tuple(fact["AP"] for fact in drawn), values_of(drawn))
        points.append(CurvePoint(images_of(folders[own[0].name]), values))
    fact = facts[members[0].name]
    support = Support(tuple(fact["groups"]), ENOUGH)
    return DataCurve(members[0].recipe, tuple(fractions), learning_curve(points, support), support, fact["number"])


def table_of(
    plan: ComparisonPlan, title: str, curves: Sequence[DataCurve], fact: Mapping[str, Any], words: Sequence[str]
) -> Table:
    """A row per point."""
    rows: list[dict[str, Any]] = []
    absent: list[dict[str, str]] = []
    for one in curves:
        for fraction, point in zip(one.fractions, one.curve.points, strict=True):
            own = point.values
            row: dict[str, Any] = {"name": one.name, "images": point.images, "fraction": fraction}
            row |= {"seeds": len(own.numbers), "AP": own.number, **interval_cells(own.interval(one.support, one.units))}
            alone = len(own.numbers) == 1
            rows.append(row if alone else row | {"spread": own.spread})
            absent.append({"spread": ONE_SEED} if alone else {})
    kept = {
        "steps": "all trainings of a detector have as many optimiser steps: on fewer images it sees each more often",
        "epochs": "all trainings of a detector have as many epochs: on fewer images it is trained for fewer steps",
    }
    notes = [
        *words,
        f"AP {100 * LEVEL:g} %: over {units_of(fact)} of the test split and over seeds, where there are several. The "
        "parts are nested and the same for each detector and seed; what another choice of the images would change is "
        f"not in it (--subset-seed {plan.subset_seed} made it)",
        kept[plan.fraction_budget],
        "more images: by a power law AP = a - b n^-c through the points, if the new images are like these and the "
        f"curve goes on as it is; in brackets the {100 * LEVEL:g} % interval over test images and seeds",
        *part_lines(plan),
    ]
    return Table(f"{title}, over training images", COLUMNS, rows, notes, absent=absent)


def part_lines(plan: ComparisonPlan) -> list[str]:
    """Which parts lack a class, in words."""
    whole = open_dataset(plan.data, plan.train_split, quiet=True)
    lines = []
    for fraction in sorted(plan.fractions):
        part = nested_subset(whole, fraction, plan.subset_seed)
        if lost := missing_classes(whole, part):
            lines.append(f"{fraction:g} of {plan.train_split}, {len(part)} images, has no box of: {', '.join(lost)}")
    return lines


def curve_json(one: DataCurve) -> dict[str, Any]:
    """One recipe's curve as plain values."""
    found: dict[str, Any] = {"name": one.name, "gains": [gain_json(gain) for gain in one.gains]}
    curve = one.curve
    if curve.law is None:
        return found | {"fit": None, "why": curve.why}
    law = curve.law
    a, b, c = (float(values[0]) for values in (law.a, law.b, law.c))
    middle, low, high = (ends.round(6).tolist() for ends in curve.band(one.asked()))
    band = {"images": [round(n, 1) for n in one.asked()], "AP": middle, "low": low, "high": high}
    return found | {"fit": {"a": a, "b": b * law.unit**c, "c": c}, "band": band}


def gain_json(gain: Gain) -> dict[str, Any]:
    """What more images give, as plain values."""
    ends = {} if gain.interval is None else {"low": gain.interval.low, "high": gain.interval.high}
    return {"more": gain.more, "AP": gain.expected, **ends, "why": gain.why, "words": gain.words()}


def say_parts(plan: ComparisonPlan, say: Callable[[str], None]) -> None:
    """Tell before hours of training which parts lack a class."""
    for line in part_lines(plan) if plan.fractions else []:
        say(f"warning: {line}")
