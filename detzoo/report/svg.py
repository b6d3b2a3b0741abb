"""Small inline drawings for the page: they take the page's text colour, so that they work in light and in dark."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PALETTE: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b5a300", "#888888")
"""Okabe and Ito's colours: told apart with any of the common colour-vision deficiencies, on white and on black."""
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 14, 44


def colour(index: int) -> str:
    """Of a detector, the same in every drawing."""
    return PALETTE[index % len(PALETTE)]


@dataclass(frozen=True)
class Axis:
    """Values onto pixels.

    Args:
        low: value at ``start``.
        high: value at ``end``.
        start: px.
        end: px.
        log: whether the scale is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def px(self, value: float) -> float:
        """Where a value lies."""
        a, b, v = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (v - a) / (b - a) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis."""
        if self.log:
            found = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]
        else:
            raw = (self.high - self.low) / 5
            step = min((m * 10.0 ** math.floor(math.log10(raw)) for m in (1, 2, 5, 10)), key=lambda s: abs(s - raw))
            first = math.ceil(self.low / step - 1e-9)
            found = [n * step for n in range(first, first + 20)]
        return [v for v in found if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


def span(values: Sequence[float], *, floor: float | None = None, log: bool = False) -> tuple[float, float]:
    """Limits that leave some air around the values."""
    low, high = min(values), max(values)
    if log:
        return low / 1.5, high * 1.5
    air = (high - low) * 0.12 or max(abs(high) * 0.1, 1.0)
    low -= air
    return (low if floor is None else max(low, floor)), high + air


def frame(width: int, height: int, x: Axis, y: Axis, labels: tuple[str, str], body: str) -> str:
    """Axes with ticks around a drawing."""
    lines = []
    for v in y.ticks():
        p = y.px(v)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{p:.1f}" y2="{p:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{p + 4:.1f}" text-anchor="end">{v:g}</text>')
    for v in x.ticks():
        p = x.px(v)
        lines.append(f'<line class="grid" x1="{p:.1f}" x2="{p:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        lines.append(f'<text x="{p:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{v:g}</text>')
    lines.append(
        f'<text x="{(LEFT + width - RIGHT) / 2}" y="{height - 8}" text-anchor="middle">{esc(labels[0])}</text>'
    )
    middle = (TOP + height - BOTTOM) / 2
    lines.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{esc(labels[1])}</text>'
    )
    return drawing(width, height, "".join(lines) + body, f"{labels[1]} over {labels[0]}")


def drawing(width: int, height: int, body: str, title: str) -> str:
    """An SVG element."""
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{esc(title)}">{body}</svg>'


def esc(text: object) -> str:
    """Text for HTML and SVG."""
    return html.escape(str(text))


def scatter(points: Sequence[tuple[str, float, float]], labels: tuple[str, str]) -> str:
    """Named points, the horizontal axis logarithmic.

    Args:
        points: (name, x, y); x above 0.
        labels: of the axes.
    """
    width, height = 720, 400
    if not points:
        return ""
    low, high = span([x for _, x, _ in points], log=True)
    x = Axis(low, high, LEFT, width - RIGHT, log=True)
    y = Axis(*span([v for _, _, v in points], floor=0), height - BOTTOM, TOP)
    body = []
    for n, (name, a, b) in enumerate(points):
        px, py = x.px(a), y.px(b)
        end = px > 0.7 * width
        body.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="6" fill="{colour(n)}">'
            f"<title>{esc(name)}: {a:.1f} ms, {b:.1f} %</title></circle>"
            f'<text x="{px + (-10 if end else 10):.1f}" y="{py + 4:.1f}" '
            f'text-anchor="{"end" if end else "start"}">{esc(name)}</text>'
        )
    return frame(width, height, x, y, labels, "".join(body))


def lines(series: Mapping[str, Sequence[tuple[float, float]]], labels: tuple[str, str]) -> str:
    """One line a name through its points."""
    width, height = 720, 320
    points = [p for line in series.values() for p in line]
    if not points:
        return ""
    x = Axis(*span([a for a, _ in points], floor=0), LEFT, width - RIGHT)
    y = Axis(*span([b for _, b in points], floor=0), height - BOTTOM, TOP)
    body = []
    for n, (name, line) in enumerate(series.items()):
        path = " ".join(f"{x.px(a):.1f},{y.px(b):.1f}" for a, b in line)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour(n)}"><title>{esc(name)}</title></polyline>')
    return frame(width, height, x, y, labels, "".join(body))


def bars(groups: Mapping[str, Sequence[float | None]], names: Sequence[str], maximum: float = 100.0) -> str:
    """Horizontal bars: a group a class, a bar a detector.

    Args:
        groups: class -> a value for each of ``names``, None where there is none.
        names: detectors.
        maximum: value of a full bar.
    """
    width, bar, gap, left = 720, 12, 8, 150
    rows, top = [], 4
    for group, values in groups.items():
        middle = top + len(values) * bar / 2 + 4
        rows.append(f'<text x="{left - 8}" y="{middle:.0f}" text-anchor="end">{esc(group[:22])}</text>')
        for n, (name, value) in enumerate(zip(names, values, strict=True)):
            y = top + n * bar
            if value is not None:
                long = max(0.0, value) / maximum * (width - left - 60)
                rows.append(
                    f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{bar - 2}" fill="{colour(n)}">'
                    f"<title>{esc(name)}, {esc(group)}: {value:.1f}</title></rect>"
                    f'<text class="small" x="{left + long + 4:.1f}" y="{y + bar - 3}">{value:.1f}</text>'
                )
        top += len(values) * bar + gap
    return drawing(width, max(top, 20), "".join(rows), "AP of each class") if groups else ""


def legend(names: Sequence[str]) -> str:
    """Names with their colours, as HTML."""
    items = (f'<li><span style="background:{colour(n)}"></span>{esc(name)}</li>' for n, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'
