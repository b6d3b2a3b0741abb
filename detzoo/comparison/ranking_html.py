"""The ranking on the page: for each detector its AP and the interval as a bar, its ties, its latency; no JavaScript."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detzoo.comparison.ranking import Ranked, RankedRows
from detzoo.comparison.table_html import breakable, esc
from detzoo.evaluation.intervals import LEVEL


def ranking_html(ranking: RankedRows) -> str:
    """A list, the best AP first; nothing where nothing is ranked."""
    rows = ranking.rows
    if not rows:
        return ""
    low, high = scale(rows)
    leading = {row.name for row in ranking.leaders} if rows[0].letters else set()
    lines = "".join(row_html(row, low, high, leading=row.name in leading) for row in rows)
    return (
        f'<ol class="ranking">{lines}</ol><div class="scale" aria-hidden="true"><span>{low:g}</span>'
        f"<span>AP %</span><span>{high:g}</span></div>{note_html(ranking)}"
    )


def scale(rows: Sequence[Ranked]) -> tuple[float, float]:
    """Ends of the axis, in percent: round, and around all intervals."""
    ends = [100 * end for row in rows for end in (row.low, row.ap, row.high) if end is not None]
    step = next(step for step in (1, 2, 5, 10, 20) if max(ends) - min(ends) <= 6 * step or step == 20)
    low, high = math.floor(min(ends) / step) * step, math.ceil(max(ends) / step) * step
    return low, high if high > low else low + step


def row_html(row: Ranked, low: float, high: float, *, leading: bool) -> str:
    """One detector."""

    def place(value: float) -> float:
        return 100 * (100 * value - low) / (high - low)

    interval, bar = "", ""
    if row.low is not None and row.high is not None:
        interval = f" <small>{100 * row.low:.1f} to {100 * row.high:.1f}</small>"
        left = place(row.low)
        bar = f'<i class="interval" style="left:{left:.2f}%;width:{place(row.high) - left:.2f}%"></i>'
    kind = ' class="leading"' if leading else ""
    return (
        f'<li{kind}><b class="who">{breakable(row.name)}</b><span class="letters">{esc(row.letters)}</span>'
        f'<span class="track" aria-hidden="true">{bar}<i class="point" style="left:{place(row.ap):.2f}%"></i></span>'
        f'<span class="value">{100 * row.ap:.1f}{interval}</span><span class="time">{row.time}</span></li>'
    )


def note_html(ranking: RankedRows) -> str:
    """How to read it."""
    words = ""
    if ranking.rows[0].low is not None:
        words = f"Bars: {100 * LEVEL:g} % confidence interval over {ranking.number} {ranking.drawn}. "
    if ranking.rows[0].letters:
        words += "Detectors that share a letter cannot be told apart: of each pair the difference was looked at, on "
        words += "the same resamples. Overlapping bars alone say nothing of a pair. "
    if ranking.left_out:
        words += f"Not ranked, for want of detections on the same images: {', '.join(ranking.left_out)}."
    return f'<p class="note">{esc(words.strip())}</p>' if words else ""
