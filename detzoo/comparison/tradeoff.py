"""The scatter plot of the page: accuracy over cost, one mark per detector, and which of them may be the best.

Colour says the architecture, the symbol the backbone, the size the input. Numbers of another protocol than most are
hollow. A detector is pale where another one is surely faster and surely better; a line through the best numbers would
say more than the numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from detzoo.comparison.figures import UNKNOWN, Spec, colour, in_order, layout, plain_text
from detzoo.comparison.ties import letters_apart

MOST_NAMED: Final = 8
"""Detectors that are all named; among more of them the names would cover each other: the pale ones have none."""
PALE: Final = 0.35
"""Opacity of a mark that another one surely beats."""
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon")


@dataclass(frozen=True)
class TradeoffAxis:
    """One quantity of the scatter plot.

    Args:
        key: of the table's rows.
        title: with the unit.
        factor: shown = value x factor.
        better: which end is the better one.
        timed: whether it depends on where and how the detector was timed.
    """

    key: str
    title: str
    factor: float = 1.0
    better: str = "low"
    timed: bool = False


COSTS: Final = (
    TradeoffAxis("latency_p50_ms", "median latency, ms", timed=True),
    TradeoffAxis("best_images_per_s", "images/s at the best batch", better="high", timed=True),
    TradeoffAxis("params_m", "parameters, millions"),
    TradeoffAxis("gflops", "GFLOPs per image"),
    TradeoffAxis("peak_memory_mib", "peak memory, MiB", timed=True),
)
GAINS: Final = tuple(
    TradeoffAxis(key, title, 100.0, "high")
    for key, title in (
        ("AP", "AP %"),
        ("AP50", "AP50 %"),
        ("AP75", "AP75 %"),
        ("APs", "AP small %"),
        ("APm", "AP medium %"),
        ("APl", "AP large %"),
        ("mask_AP", "mask AP %"),
        ("voc07_AP50", "VOC07 AP50 %"),
    )
)


@dataclass(frozen=True)
class TradeoffPoint:
    """One detector in the scatter plot.

    Args:
        row: of the table.
        architecture: decides the colour.
        backbone: decides the symbol.
        side: of the input, px; decides the size.
        size: of the input, as text.
        other_accuracy: its accuracy was measured under another protocol than most: drawn hollow, compared with none.
        other_speed: the same of its times.
        intervals: key of an accuracy -> both ends of its confidence interval, 0..1.
    """

    row: Mapping[str, Any]
    architecture: str | None = None
    backbone: str | None = None
    side: float | None = None
    size: str | None = None
    other_accuracy: bool = False
    other_speed: bool = False
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def ends(self, gain: TradeoffAxis) -> tuple[float, float] | None:
        """Both ends of an accuracy's interval, as shown; None where there is none."""
        own = self.intervals.get(gain.key)
        return None if own is None else (own[0] * gain.factor, own[1] * gain.factor)

    def time_off(self, cost: TradeoffAxis) -> float:
        """How far the latency was off at other moments, as shown; 0 for other costs, or where it is not known."""
        spread = self.row.get("latency_spread")
        return self.row[cost.key] * cost.factor * spread if cost is COSTS[0] and known(spread) else 0.0

    def is_other(self, cost: TradeoffAxis) -> bool:
        """Whether it cannot be compared with the others in a plot over this cost."""
        return self.other_accuracy or (cost.timed and self.other_speed)


def tradeoffs(points: Sequence[TradeoffPoint], objects: Mapping[str, int] | None = None) -> dict[str, Spec]:
    """Every accuracy over every cost, those pairs that at least one detector has; keys are ``cost|accuracy``.

    Args:
        points: of all detectors.
        objects: accuracy of the table -> objects that count.
    """
    found = {}
    for cost in COSTS:
        for gain in GAINS:
            there = [
                p for p in points if known(p.row.get(cost.key)) and p.row[cost.key] > 0 and known(p.row.get(gain.key))
            ]
            if there:
                spec = tradeoff(there, cost, gain, points)
                spec["layout"]["title"]["text"] = counted_title(gain, objects or {})
                found[f"{cost.title}|{gain.title}"] = spec
    return found


def counted_title(gain: TradeoffAxis, objects: Mapping[str, int]) -> str:
    """An accuracy with the number of objects behind it."""
    return f"{gain.title} (n={objects[gain.key]})" if gain.key in objects else gain.title


def known(value: Any) -> TypeGuard[float]:
    """Whether it is a number that can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)


def tradeoff(
    points: Sequence[TradeoffPoint], cost: TradeoffAxis, gain: TradeoffAxis, everybody: Sequence[TradeoffPoint]
) -> Spec:
    """One mark per detector, and the key to the marks: one colour and symbol in every variant."""
    spot = [(p.row[cost.key] * cost.factor, p.row[gain.key] * gain.factor) for p in points]
    architectures = in_order(p.architecture for p in everybody)
    backbones = in_order(p.backbone for p in everybody)
    tones = {name: colour(n) for n, name in enumerate(architectures)}
    symbols = {name: SYMBOLS[n % len(SYMBOLS)] for n, name in enumerate(backbones)}
    drawn = [p.architecture or UNKNOWN for p in points], [p.backbone or UNKNOWN for p in points]
    front = may_be_best(points, cost, gain)
    traces = []
    for n, (p, at) in enumerate(zip(points, spot, strict=True)):
        tone, symbol = tones[p.architecture or UNKNOWN], symbols[p.backbone or UNKNOWN]
        named = n in front or len(points) <= MOST_NAMED
        drawn_as = mark(p, at, tone, symbol, hollow=p.is_other(cost), named=named)
        if n not in front and not p.is_other(cost):
            drawn_as["opacity"] = PALE
        traces.append(drawn_as | error_lines(p, at, cost, gain, tone) | {"hovertemplate": hover(p, cost, gain)})
    traces += keys("architecture", {n: {"color": c, "symbol": "circle"} for n, c in tones.items() if n in drawn[0]})
    traces += keys("backbone", {n: {"color": "#888888", "symbol": s} for n, s in symbols.items() if n in drawn[1]})
    shape = layout(f"{cost.title} (log)", gain.title, height=480)
    shape["xaxis"] |= log_range([x for x, _ in spot])
    heights = [y for _, y in spot] + [y for p in points for y in p.ends(gain) or ()]
    low, high = min(heights), max(heights)
    air = 0.15 * (high - low) or 5.0
    shape["yaxis"]["range"] = [max(0.0, low - air), high + air]
    return {"data": traces, "layout": shape}


def mark(p: TradeoffPoint, at: tuple[float, float], tone: str, symbol: str, *, hollow: bool, named: bool) -> Spec:
    """A detector's mark; pointing at it tells its name in any case."""
    name = plain_text(p.row["name"])
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "showlegend": False,
        "x": [at[0]],
        "y": [at[1]],
        "text": [name if named else ""],
        "textposition": "top center",
        "cliponaxis": False,
        "marker": {
            "color": tone,
            "symbol": symbol + ("-open" if hollow else ""),
            "size": mark_size(p.side),
            "line": {"width": 2 if hollow else 1, "color": tone},
        },
    }


def error_lines(p: TradeoffPoint, at: tuple[float, float], cost: TradeoffAxis, gain: TradeoffAxis, tone: str) -> Spec:
    """The interval of the accuracy, and how far the latency was off."""
    look = {"type": "data", "color": tone, "thickness": 1, "width": 3}
    found: Spec = {}
    if (ends := p.ends(gain)) is not None:
        up, down = max(ends[1] - at[1], 0.0), max(at[1] - ends[0], 0.0)
        found["error_y"] = look | {"symmetric": False, "array": [up], "arrayminus": [down]}
    if off := p.time_off(cost):
        found["error_x"] = look | {"array": [off]}
    return found


def log_range(values: Sequence[float]) -> Spec:
    """A logarithmic axis with air for the names at both ends, and round ticks: 1, 2, 5, 10 ..., closer if need be."""
    low, high = math.log10(min(values)), math.log10(max(values))
    air = max(0.12 * (high - low), 0.1)
    steps = (1, 2, 5) if high - low > 0.6 else (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)
    ticks = [m * 10.0**e for e in range(-4, 8) for m in steps]
    return {
        "type": "log",
        "range": [low - air, high + air],
        "tickvals": ticks,
        "ticktext": [f"{tick:,.6g}" for tick in ticks],
    }


def keys(title: str, markers: Mapping[str, Spec]) -> list[Spec]:
    """Entries of the legend that explain a colour or a symbol."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [None],
            "y": [None],
            "name": plain_text(name),
            "marker": marker | {"size": 10},
            "legendgroup": title,
            "legendgrouptitle": {"text": title},
            "hoverinfo": "skip",
        }
        for name, marker in markers.items()
    ]


def mark_size(side: float | None) -> float:
    """Diameter, px: 8 for inputs of 224 and 22 for 1000; in between by the side."""
    return 10.0 if side is None else min(24.0, max(7.0, 8 + (side - 224) * 14 / 776))


def may_be_best(points: Sequence[TradeoffPoint], cost: TradeoffAxis, gain: TradeoffAxis) -> list[int]:
    """Detectors of the usual protocol that may be the best at some cost: no other is surely cheaper and surely better.

    Cheaper by more than both latencies were off; better as ``is_better`` has it.
    """
    sign = 1 if cost.better == "low" else -1
    plain = [n for n, p in enumerate(points) if not p.is_other(cost)]

    def is_cheaper(one: TradeoffPoint, other: TradeoffPoint) -> bool:
        gap = sign * cost.factor * (other.row[cost.key] - one.row[cost.key])
        return bool(gap >= one.time_off(cost) + other.time_off(cost))

    def is_beaten(n: int) -> bool:
        return any(is_cheaper(points[m], points[n]) and is_better(points[m], points[n], gain) for m in plain if m != n)

    return [n for n in plain if not is_beaten(n)]


def is_better(one: TradeoffPoint, other: TradeoffPoint, gain: TradeoffAxis) -> bool:
    """AP: told apart on the same resamples; other accuracies: intervals do not meet; without intervals: the higher."""
    if one.row[gain.key] <= other.row[gain.key]:
        return False
    letters = one.row.get("ties", ""), other.row.get("ties", "")
    if gain.key == "AP" and all(letters):
        return letters_apart(*letters)
    ends = one.ends(gain), other.ends(gain)
    return ends[0] is None or ends[1] is None or ends[0][0] > ends[1][1]


def hover(p: TradeoffPoint, cost: TradeoffAxis, gain: TradeoffAxis) -> str:
    """What the mark says when it is pointed at."""
    about = [words for words in (p.architecture, p.backbone, p.size) if words]
    lines = (
        [f"<b>{plain_text(p.row['name'])}</b>", plain_text(" · ".join(about))]
        if about
        else [f"<b>{plain_text(p.row['name'])}</b>"]
    )
    if p.is_other(cost):
        lines.append("measured under another protocol")
    ends = p.ends(gain)
    interval = "" if ends is None else f" ({ends[0]:.1f} to {ends[1]:.1f})"
    return "<br>".join([*lines, f"{gain.title}: %{{y:.1f}}{interval}", f"{cost.title}: %{{x:.3g}}"]) + "<extra></extra>"
