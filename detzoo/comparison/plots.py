"""Figures: speed against AP, precision over recall, confusion, learning curves; PNG or SVG, no display needed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detzoo.comparison.figures import UNKNOWN, colour, in_order
from detzoo.comparison.tradeoff import (
    COSTS,
    GAINS,
    MOST_NAMED,
    PALE,
    TradeoffPoint,
    known,
    log_range,
    mark_size,
    may_be_best,
)
from detzoo.evaluation.intervals import LEVEL
from detzoo.runtime.atomic_files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from detzoo.evaluation.curves import Confusion, Curve

Corner: TypeAlias = Literal["outside right upper", "outside right lower"]
_SYMBOLS = ("o", "s", "D", "^", "P", "X", "*", "p", "h")
"""Of backbones, as the page's."""
MOST_NAMES = 20
"""Beyond this many classes names no longer fit next to a figure."""


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
    drawn = io.BytesIO()  # in memory: Pillow hides what a full disk answers
    kind = path.suffix.removeprefix(".") or "png"
    made.savefig(drawn, format=kind, dpi=120, metadata={"Software": None} if kind == "png" else {"Date": None})
    write_bytes(path, drawn.getvalue())
    return path


def speed_ap_figure(points: Sequence[TradeoffPoint], *, note: str = "", objects: int | None = None) -> Figure:
    """One mark per detector: median time of a batch (log) against AP; left and up is better.

    As on the page: colour says the architecture, the symbol the backbone, the size the input. Pale is what another one
    surely beats in both; among more than ``MOST_NAMED`` it has no name. Lines through a mark are the confidence
    interval of its AP, and how far its latency was off in turns at other moments.

    Args:
        points: those without a time, or with one of 0, or without an AP are left out.
        note: the protocol, below the figure. Those that were measured under another one are hollow, and it says so.
        objects: that stand behind AP.
    """
    made, axes = figure()
    axes.set_axisbelow(True)
    cost = COSTS[0]
    there = [p for p in points if known(p.row.get(cost.key)) and p.row[cost.key] > 0 and known(p.row.get("AP"))]
    spot = [(p.row[cost.key], 100 * p.row["AP"]) for p in there]
    colours = {name: colour(n) for n, name in enumerate(in_order(p.architecture for p in there))}
    symbols = {name: _SYMBOLS[n % len(_SYMBOLS)] for n, name in enumerate(in_order(p.backbone for p in there))}
    front = may_be_best(there, cost, GAINS[0])
    for n, (p, (x, y)) in enumerate(zip(there, spot, strict=True)):
        _error_lines(axes, p, (x, y), colours[p.architecture or UNKNOWN])
        axes.plot(
            x,
            y,
            color=colours[p.architecture or UNKNOWN],
            marker=symbols[p.backbone or UNKNOWN],
            markersize=0.7 * mark_size(p.side),
            fillstyle="none" if p.is_other(cost) else "full",
            alpha=1.0 if n in front or p.is_other(cost) else PALE,
        )
        if n in front or len(there) <= MOST_NAMED:
            axes.annotate(str(p.row["name"]), (x, y), textcoords="offset points", xytext=(7, -9), fontsize=7)
    if there:
        _explain(made, "architecture", {name: (tone, "o") for name, tone in colours.items()}, "outside right upper")
        grey = {name: ("#888888", symbol) for name, symbol in symbols.items()}
        _explain(made, "backbone", grey, "outside right lower")
    axes.set_xscale("log")
    if there:
        _round_ticks(axes, [x for x, _ in spot])
    axes.set_xlabel("median time, ms per batch (log)")
    axes.set_ylabel("AP %" if objects is None else f"AP % (n={objects})")
    axes.margins(0.12)
    if any(p.ends(GAINS[0]) is not None for p in there):
        lines = f"lines: {100 * LEVEL:g} % confidence interval of AP over test images, and how far a latency was off"
        note = "; ".join(filter(None, [note, lines]))
    if any(p.is_other(cost) for p in there):
        note = "; ".join(filter(None, [note, "hollow: measured under another protocol"]))
    if note:
        made.supxlabel(note, fontsize=6, wrap=True)
    return made


def _error_lines(axes: Axes, p: TradeoffPoint, at: tuple[float, float], tone: str) -> None:
    """The interval of AP, and how far the latency was off."""
    look: dict[str, Any] = {"color": tone, "linewidth": 0.9, "alpha": 0.6, "zorder": 1}
    if (ends := p.ends(GAINS[0])) is not None:
        axes.vlines(at[0], *ends, **look)
    if off := p.time_off(COSTS[0]):
        axes.hlines(at[1], max(at[0] - off, at[0] / 10), at[0] + off, **look)


def _round_ticks(axes: Axes, values: Sequence[float]) -> None:
    """The page's: 1, 2, 5, 10 ..., closer where all values are near each other."""
    shape = log_range(values)
    low, high = (10**end for end in shape["range"])
    ticks = zip(shape["tickvals"], shape["ticktext"], strict=True)
    shown = [(value, text) for value, text in ticks if low <= value <= high]
    axes.set_xlim(low, high)
    axes.set_xticks([value for value, _ in shown], [text for _, text in shown])
    axes.minorticks_off()


def _explain(made: Figure, title: str, looks: Mapping[str, tuple[str, str]], where: Corner) -> None:
    """Which colour and symbol is which, next to the axes."""
    kinds = [
        Line2D([], [], linestyle="", label=name, color=tone, marker=symbol) for name, (tone, symbol) in looks.items()
    ]
    made.legend(handles=kinds, title=title, fontsize=7, title_fontsize=7, loc=where)


def pr_figure(curves: Sequence[Curve]) -> Figure:
    """Precision over recall, one line per class; solid at IoU .50, dashed at .75."""
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
        axes.legend(fontsize=7, title="class (AP50 %); dashed: IoU .75", title_fontsize=7)
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
