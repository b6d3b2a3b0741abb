"""Figures: speed against AP, precision over recall, confusion, learning curves; PNG or SVG, no display needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from detzoo.evaluation.curves import Confusion, Curve

MOST_NAMES = 20
"""Beyond this many classes names no longer fit beside a figure."""


def figure(width: float = 7.0, height: float = 4.5) -> tuple[Figure, Axes]:
    """An empty figure that belongs to no window, in inches."""
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return made, axes


def save(made: Figure, path: str | Path) -> Path:
    """Write a figure; the ending says PNG or SVG."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})
    return path


def speed_ap_figure(
    rows: Sequence[Mapping[str, Any]], *, metric: str = "AP", note: str = "", others: Collection[str] = ()
) -> Figure:
    """A point a detector: median time of a batch (log) against AP; left and up is better.

    Args:
        rows: with name, latency_p50_ms and the metric.
        metric: 0..1.
        note: the protocol, below the figure.
        others: names of those that were measured under another protocol: drawn hollow, and the figure says so.
    """
    made, axes = figure()
    axes.set_axisbelow(True)
    for row in rows:
        if row.get("latency_p50_ms") and row.get(metric) is not None:
            point = (row["latency_p50_ms"], 100 * row[metric])
            axes.plot(*point, "o", markersize=8, fillstyle="none" if row["name"] in others else "full")
            axes.annotate(str(row["name"]), point, textcoords="offset points", xytext=(7, 4), fontsize=8)
    axes.set_xscale("log")
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("median time, ms a batch (log)")
    axes.set_ylabel(f"{metric} %")
    axes.margins(0.15)
    if others:
        note = "; ".join(filter(None, [note, "hollow: measured under another protocol"]))
    if note:
        made.supxlabel(note, fontsize=6, wrap=True)
    return made


def pr_figure(curves: Sequence[Curve]) -> Figure:
    """Precision over recall, a line a class; solid at IoU .50, dashed at .75."""
    made, axes = figure()
    classes = list(dict.fromkeys(curve.name for curve in curves))
    recall = np.linspace(0, 1, 101)
    for curve in curves:
        colour = f"C{classes.index(curve.name) % 10}"
        first = curve.iou == 0.5
        label = f"{curve.name} ({100 * curve.precision.mean():.1f})" if first and len(classes) <= MOST_NAMES else None
        axes.plot(recall, curve.precision, "-" if first else "--", color=colour, alpha=1 if first else 0.5, label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    if curves and len(classes) <= MOST_NAMES:
        axes.legend(fontsize=7, title="class (AP50 %)", title_fontsize=7)
    return made


def confusion_figure(matrix: Confusion) -> Figure:
    """Share of each true class (row) found as each class (column)."""
    names = [*matrix.names, "background"]
    side = min(12.0, 3.0 + 0.3 * len(names))
    made, axes = figure(side + 0.6, side)
    share = matrix.counts / np.maximum(matrix.counts.sum(axis=1, keepdims=True), 1)
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    made.colorbar(shown, shrink=0.7, label="share of the row")
    axes.grid(visible=False)
    axes.set(xlabel=f"detected (score ≥ {matrix.score:g}, IoU ≥ {matrix.iou:g})", ylabel="truth")
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=90, fontsize=7)
    axes.set_yticks(ticks, names, fontsize=7)
    if len(names) <= MOST_NAMES:
        for row, column in np.ndindex(matrix.counts.shape):
            if matrix.counts[row, column]:
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(matrix.counts[row, column]), ha="center", va="center", fontsize=6, color=colour
                )
    return made


def learning_figure(series: Mapping[str, Sequence[tuple[float, float]]], *, ylabel: str = "AP50 %") -> Figure:
    """Lines of (epoch, value), one a detector.

    Args:
        series: name -> points.
        ylabel: what the values are.
    """
    made, axes = figure()
    for name, points in series.items():
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker="o", markersize=3, label=name)
    axes.set(xlabel="epoch", ylabel=ylabel)
    if series:
        axes.legend(fontsize=7)
    return made
