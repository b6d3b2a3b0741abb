"""The page of a comparison: which drawings it has, and from which numbers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from detzoo.comparison import figures
from detzoo.comparison.analysis import DRAWN_FROM
from detzoo.comparison.figures import ALL
from detzoo.comparison.html_page import CLASS, Menu, Page, Plot, Section
from detzoo.comparison.image_grid import image_wall
from detzoo.comparison.protocol import protocol_table
from detzoo.comparison.tradeoff import COSTS, GAINS, TradeoffPoint, tradeoffs
from detzoo.runtime.environment import versions
from detzoo.training.log import read_curve

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.data import Dataset
    from detzoo.runtime.text_table import Table

CURVES: Final = {"AP %": ("AP", 100.0), "AP50 %": ("AP50", 100.0), "loss": ("loss", 1.0)}
"""Title -> (column of curve.csv, factor)."""


def comparison_page(dataset: Dataset, entries: Sequence[ComparisonEntry], table: Table, examples: int) -> Page:
    """Everything that is known of the entries, drawn."""
    count = f"{len(entries)} detector{'s' if len(entries) > 1 else ''} compared"
    return Page(
        title=f"{dataset.name} {dataset.split}: {count}",
        table=table,
        protocols=protocol_table(entries),
        sections=[
            speed_section(entries, table),
            learning_section(entries),
            *class_sections(entries),
            confusion_section(entries),
        ],
        wall=image_wall(entries, dataset, examples),
        wall_note=f"Detections of score {DRAWN_FROM:g} and more; a detection is right from IoU 0.5 on; F1 of each "
        "image, the mean over the detectors decides the order. Point at a box to read its class, score and error."
        + lacking(entries, lambda entry: entry.detections is not None, "images"),
        footer=footer(entries),
    )


def points_of(entries: Sequence[ComparisonEntry], table: Table) -> list[TradeoffPoint]:
    """Every detector as a plot of accuracy over cost draws it."""
    points = []
    for entry, row, marks in zip(entries, table.rows, table.marks, strict=False):
        facts = entry.facts
        other = {"other_accuracy": bool(marks.get("AP")), "other_speed": bool(marks.get("latency_p50_ms"))}
        points.append(TradeoffPoint(row, facts.architecture, facts.backbone, facts.side, facts.size, **other))
    return points


def speed_section(entries: Sequence[ComparisonEntry], table: Table) -> Section:
    """Accuracy over cost, axes to be chosen."""
    variants = tradeoffs(points_of(entries, table))
    costs = [axis.title for axis in COSTS if any(key.startswith(f"{axis.title}|") for key in variants)]
    gains = [axis.title for axis in GAINS if any(key.endswith(f"|{axis.title}") for key in variants)]
    note = "Colour: architecture; symbol: backbone; size: input; hollow: another protocol. The dotted line joins the "
    note += "detectors that no other one beats in both."
    plot = Plot("tradeoff", "accuracy over cost of each detector", variants, ("cost", "gain"))
    menus = [Menu("gain", "accuracy", gains), Menu("cost", "cost", costs)]
    return Section("Speed and accuracy", [plot], menus, note + lacking(entries, lambda e: bool(e.benchmark), "speed"))


def learning_section(entries: Sequence[ComparisonEntry]) -> Section:
    """Curves of the runs, overlaid."""
    series = {
        title: {e.name: [(x, factor * y) for x, y in curve_of(e.run, column)] for e in entries}
        for title, (column, factor) in CURVES.items()
    }
    variants = figures.learning(series)
    plot = Plot("learning", "learning curves", variants, ("quantity",))
    return Section("Learning curves", [plot], [Menu("quantity", "quantity", list(variants))])


def class_sections(entries: Sequence[ComparisonEntry]) -> list[Section]:
    """What can be filtered by class: AP, sizes, precision over recall, errors."""
    names = [entry.name for entry in entries]
    index = {name: n for n, name in enumerate(names)}
    classes = list(dict.fromkeys(c for entry in entries for c in entry.results["per_class"]))
    menu = [Menu(CLASS, "class", [ALL, *classes])]
    by_class = {c: {e.name: percent(per_class(e, c).get("AP")) for e in entries} for c in classes}
    sizes = {
        which: {e.name: [percent(numbers(e, which).get(key)) for key in ("APs", "APm", "APl")] for e in entries}
        for which in [ALL, *classes]
    }
    analysed = {e.name: e.analysis for e in entries if e.analysis}
    errors = {
        which: {name: gains for name, a in analysed.items() if (gains := gains_of(a, which))}
        for which in [ALL, *classes]
    }
    curves = {name: a["precision"] for name, a in analysed.items()}
    without = lacking(entries, lambda entry: bool(entry.analysis), "detections")
    return [
        Section(
            "AP of each class",
            [Plot("classes", "AP of each class", figures.class_bars(by_class, names), (CLASS,))],
            menu,
        ),
        Section("AP by size of the objects", [Plot("sizes", "AP by size", figures.size_bars(sizes), (CLASS,))], menu),
        Section(
            "Precision over recall",
            [Plot("precision", "precision over recall", figures.precision_curves(curves, index), (CLASS,))],
            menu,
            "Solid at IoU .50, dashed at .75." + without,
        ),
        Section(
            "Errors by kind",
            [Plot("errors", "what each kind of error costs", figures.error_bars(errors, index), (CLASS,))],
            menu,
            "AP50 that would be won if one kind of error were mended alone (TIDE, Bolya et al. 2020; a detection is on "
            "a box from IoU 0.5 and beside it from 0.1)." + without,
        ),
    ]


def confusion_section(entries: Sequence[ComparisonEntry]) -> Section:
    """What was taken for what, one detector at a time."""
    matrices = {e.name: e.analysis["confusion"] for e in entries if e.analysis}
    plot = Plot("confusion", "confusion matrix", figures.confusions(matrices), ("detector",))
    note = (
        f"Detections of score {DRAWN_FROM:g} and more, matched at IoU 0.5 whatever their class; the last row is what "
    )
    note += "was found where nothing is, the last column what was not found. Colour: share of the row."
    return Section("Confusion", [plot], [Menu("detector", "detector", list(matrices))], note)


def per_class(entry: ComparisonEntry, name: str) -> Mapping[str, Any]:
    """Numbers of one class, empty where the entry does not have it."""
    values: Mapping[str, Any] = entry.results["per_class"].get(name, {})
    return values


def numbers(entry: ComparisonEntry, which: str) -> Mapping[str, Any]:
    """Numbers of one class, or of all."""
    metrics: Mapping[str, Any] = entry.results["metrics"]
    return metrics if which == ALL else per_class(entry, which)


def gains_of(analysis: Mapping[str, Any], which: str) -> dict[str, float]:
    """Gains of one class, or of all; empty where there is no AP."""
    errors = analysis["errors"]
    gains: dict[str, float | None] = errors["gains"] if which == ALL else errors["per_class"].get(which, {})
    return {kind: value for kind, value in gains.items() if value is not None}


def percent(value: float | None) -> float | None:
    """0..1 -> percent; no value stays none."""
    return None if value is None else round(100 * value, 3)


def lacking(entries: Sequence[ComparisonEntry], has: Callable[[ComparisonEntry], bool], what: str) -> str:
    """Who is not in a drawing, and why."""
    names = [entry.name for entry in entries if not has(entry)]
    return f" No {what} recorded: {', '.join(names)}." if names else ""


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
