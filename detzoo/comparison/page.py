"""The page of a comparison: which drawings it has, and from which numbers."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from detzoo.comparison import figures
from detzoo.comparison.analysis import DRAWN_FROM
from detzoo.comparison.class_sections import class_sections, lacking
from detzoo.comparison.html_page import Menu, Page, Plot, Section
from detzoo.comparison.image_grid import image_wall
from detzoo.comparison.protocol import protocol_table
from detzoo.comparison.seed_groups import seed_groups
from detzoo.comparison.tradeoff import COSTS, GAINS, TradeoffPoint, counted_title, tradeoffs
from detzoo.errors import DataError
from detzoo.evaluation.intervals import LEVEL
from detzoo.runtime.environment import versions
from detzoo.runtime.foreign_files import is_ordinary
from detzoo.runtime.json_text import load_json
from detzoo.training.log import read_curve

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.comparison.ranking import RankedRows
    from detzoo.data import Dataset
    from detzoo.runtime.text_table import Table

CURVES: Final = {"AP %": ("AP", 100.0), "AP50 %": ("AP50", 100.0), "loss": ("loss", 1.0)}
"""Title -> (column of curve.csv, factor)."""


def comparison_page(
    dataset: Dataset,
    entries: Sequence[ComparisonEntry],
    table: Table,
    examples: int,
    *,
    verdict: str = "",
    ranking: RankedRows | None = None,
    seeds: Table | None = None,
    trainings: Sequence[Section] = (),
    command: str = "",
) -> Page:
    """Everything that is known of the entries, drawn; ``trainings`` stand below the learning curves."""
    count = f"{len(entries)} detector{'s' if len(entries) > 1 else ''} compared"
    return Page(
        title=f"{dataset.name} {dataset.split}: {count}",
        table=table,
        verdict=verdict,
        ranking=ranking,
        command=command,
        seeds=seeds,
        protocols=protocol_table(entries),
        sections=[
            speed_section(entries, table),
            learning_section(entries),
            *trainings,
            *class_sections(entries, dataset),
            confusion_section(entries),
        ],
        wall=image_wall(entries, dataset, examples),
        wall_note=f"Detections of score {DRAWN_FROM:g} and more; a detection is right from IoU 0.5 on; F1 of each "
        "image, the mean over the detectors decides the order. Point at a box to read its class, score and error; "
        "click an image to enlarge it." + lacking(entries, lambda entry: entry.detections is not None, "images"),
        footer=footer(entries),
    )


def points_of(entries: Sequence[ComparisonEntry], table: Table) -> list[TradeoffPoint]:
    """Every detector as a plot of accuracy over cost draws it."""
    points = []
    for entry, row, marks in zip(entries, table.rows, table.marks, strict=False):
        facts = entry.facts
        other = {"other_accuracy": bool(marks.get("AP")), "other_speed": bool(marks.get("latency_p50_ms"))}
        ends = entry.analysis.get("intervals", {})
        points.append(
            TradeoffPoint(row, facts.architecture, facts.backbone, facts.side, facts.size, **other, intervals=ends)
        )
    return points


def speed_section(entries: Sequence[ComparisonEntry], table: Table) -> Section:
    """Accuracy over cost, axes to be chosen."""
    variants = tradeoffs(points_of(entries, table), table.counts)
    costs = [axis.title for axis in COSTS if any(key.startswith(f"{axis.title}|") for key in variants)]
    gains = [axis.title for axis in GAINS if any(key.endswith(f"|{axis.title}") for key in variants)]
    note = "Colour: architecture; symbol: backbone; size: input; hollow: another protocol. Pale: another one is faster "
    note += "and better, each by more than its bars; all others may be the best at some cost. Without bars the numbers "
    note += f"alone decide. Bars: {100 * LEVEL:g} % confidence interval over test images, "
    note += "and how far the latency was off at other moments."
    plot = Plot("tradeoff", "accuracy over cost of each detector", variants, ("cost", "gain"))
    shown = {axis.title: counted_title(axis, table.counts) for axis in GAINS}
    menus = [Menu("gain", "accuracy", gains, shown), Menu("cost", "cost", costs)]
    return Section("Speed and accuracy", [plot], menus, note + lacking(entries, lambda e: bool(e.benchmark), "speed"))


def learning_section(entries: Sequence[ComparisonEntry]) -> Section:
    """Curves of the runs, overlaid; runs of one recipe that differ by their seed are one curve."""
    groups, _ = seed_groups(entries, range(len(entries)))
    series = {
        title: {
            group.name: [[(x, factor * y) for x, y in curve_of(entries[n].run, column)] for n in group.rows]
            for group in groups
        }
        for title, (column, factor) in CURVES.items()
    }
    variants = figures.learning(series)
    plot = Plot("learning", "learning curves", variants, ("quantity",))
    counts = {e.name: count for e in entries if e.run is not None and (count := validation_objects(e.run)) is not None}
    same = len(set(counts.values())) == 1
    shown = str(next(iter(counts.values()))) if same else ", ".join(f"{name} {count}" for name, count in counts.items())
    notes = [f"AP on the validation images of each run, objects: {shown}."] if counts else []
    if any(len(group.rows) > 1 for group in groups):
        notes.append("Of several seeds: the mean, and a band from the lowest to the highest.")
    note = " ".join(notes)
    return Section("Learning curves", [plot], [Menu("quantity", "quantity", list(variants))], note)


def validation_objects(run: Path) -> int | None:
    """Objects that stand behind the AP of a run's curve; None where its training has left no results."""
    path = run / "results.json"
    if not is_ordinary(path):
        return None
    try:
        content = load_json(path)
        counts = [int(values["ground_truths"]) for values in content["per_class"].values()]
        return sum(counts) if "selection" in content else None  # without it, `detzoo eval` has written there since
    except (DataError, ValueError, KeyError, TypeError, AttributeError):  # somebody else's file of that name
        return None


def confusion_section(entries: Sequence[ComparisonEntry]) -> Section:
    """What was taken for what, one detector at a time."""
    matrices = {e.name: e.analysis["confusion"] for e in entries if e.analysis}
    plot = Plot("confusion", "confusion matrix", figures.confusions(matrices), ("detector",))
    note = (
        f"Detections of score {DRAWN_FROM:g} and more, matched at IoU 0.5 whatever their class; the last row is what "
    )
    note += "was found where nothing is, the last column what was not found. Colour: share of the row."
    return Section("Confusion", [plot], [Menu("detector", "detector", list(matrices))], note)


def footer(entries: Sequence[ComparisonEntry]) -> str:
    """When and with what."""
    here = versions()
    shown = ", ".join(f"{name} {here[name]}" for name in ("detzoo", "torch", "torchvision") if name in here)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    devices = dict.fromkeys(e.results["device"]["name"] for e in entries if e.results.get("device"))
    return "; ".join([f"Made by detzoo compare on {today}", shown, *devices]) + "."


def curve_of(run: Path | None, metric: str = "AP") -> list[tuple[float, float]]:
    """(epoch, metric) points of a run's curve; empty where there is none."""
    rows = read_curve(run) if run is not None else []
    return [(float(row["epoch"]), float(row[metric])) for row in rows if row.get("epoch") and row.get(metric)]
