"""How two detectors differ in each class, with intervals: their AP over the same resamples of the test images.

Letters: B resamples, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.comparison.figures import Spec, colour, layout, plain_text
from detzoo.comparison.ties import RESAMPLED, comparable
from detzoo.evaluation.intervals import ENOUGH, LEVEL, Interval, Support, interval_of
from detzoo.runtime.atomic_files import write_bytes
from detzoo.runtime.foreign_files import is_ordinary

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.evaluation import Evaluation

FILE: Final = "class_resamples.npy"
"""AP of each class by resample, float32 [K,B], beside the analysis that names the classes."""
MOST_DETECTORS: Final = 8
"""The best of so many are compared pair by pair: each pair is a drawing."""


@dataclass(frozen=True)
class Difference:
    """Of a class.

    Args:
        name: of the class.
        units: images (or groups) with an object of it.
        gap: AP of the one less that of the other, 0..1.
        interval: of the gap; None where too few units stand behind it.
    """

    name: str
    units: int
    gap: float
    interval: Interval | None

    @property
    def is_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def write_class_resamples(folder: Path, evaluation: Evaluation) -> None:
    """Keep what ``differences`` reads."""
    own = evaluation.resampled
    values = np.array([own.resamples("AP", name) for name in own.per_class], dtype=np.float32)
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write_bytes(folder / FILE, content.getvalue())


def class_facts(evaluation: Evaluation) -> dict[str, list[Any]]:
    """Class -> its AP, and the units with an object of it; in the order of the rows of the file."""
    own = evaluation.resampled
    return {name: [numbers["AP"], sum(own.support("AP", name).groups)] for name, numbers in own.per_class.items()}


def class_values(entry: ComparisonEntry) -> NDArray[np.float32] | None:
    """AP of each class by resample, float32 [K,B]; None where they are not known."""
    path = entry.folder / FILE
    return np.load(path, allow_pickle=False) if is_ordinary(path) else None


def differences(
    facts: tuple[Mapping[str, Sequence[Any]], Mapping[str, Sequence[Any]]],
    values: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> list[Difference]:
    """Of each class that both have, the one less the other; the largest gap first.

    Args:
        facts: of both: class -> AP and units.
        values: of both: AP by resample [K,B], in the order of the facts.
    """
    rows = [{name: n for n, name in enumerate(own)} for own in facts]
    found = []
    for name, (ap, units) in facts[0].items():
        other = facts[1].get(name)
        if other is None or ap is None or other[0] is None:
            continue
        gaps = values[0][rows[0][name]].astype(np.float64) - values[1][rows[1][name]]
        found.append(Difference(name, units, ap - other[0], interval_of(gaps, Support((units,), ENOUGH), LEVEL)))
    return sorted(found, key=lambda one: -one.gap)


def difference_figures(entries: Sequence[ComparisonEntry]) -> tuple[list[str], dict[str, Spec]]:
    """Names of detectors that can be chosen, the best first, and ``A|B`` -> drawing; nothing for fewer than two."""
    known = {n: fact for n, entry in enumerate(entries) if (fact := entry.analysis.get(RESAMPLED)) is not None}
    chosen = {}
    for n in list(comparable(known))[:MOST_DETECTORS]:
        values = class_values(entries[n])
        if values is not None:
            chosen[entries[n].name] = known[n]["classes"], values
    found = {}
    for a, b in permutations(chosen, 2):
        gaps = differences((chosen[a][0], chosen[b][0]), (chosen[a][1], chosen[b][1]))
        if gaps:
            found[f"{a}|{b}"] = drawn(gaps, a, b)
    return (list(chosen) if found else []), found


def drawn(gaps: Sequence[Difference], a: str, b: str) -> Spec:
    """A line for each class: a mark where the gap is, and its interval; hollow where there is none."""
    names = [plain_text(gap.name) for gap in gaps]
    kinds = {
        ("told apart", colour(0)): [n for n, gap in enumerate(gaps) if gap.is_apart],
        ("not told apart", "#888888"): [n for n, gap in enumerate(gaps) if gap.interval and not gap.is_apart],
        (f"objects in fewer than {ENOUGH}", "#888888"): [n for n, gap in enumerate(gaps) if gap.interval is None],
    }
    traces = [
        marks([gaps[n] for n in which], [names[n] for n in which], title, tone)
        for (title, tone), which in kinds.items()
        if which
    ]
    shape = layout(f"AP of {plain_text(a)} less AP of {plain_text(b)}, points", "", height=130 + 24 * len(gaps))
    shape["yaxis"] |= {"categoryorder": "array", "categoryarray": names[::-1], "type": "category"}
    shape["xaxis"] |= {"zeroline": True, "zerolinewidth": 2}
    return {"data": traces, "layout": shape}


def marks(gaps: Sequence[Difference], names: Sequence[str], title: str, tone: str) -> Spec:
    """Of one kind."""
    ends = [(gap.gap, gap.gap) if gap.interval is None else (gap.interval.low, gap.interval.high) for gap in gaps]
    words = [
        f"{name}: {100 * gap.gap:+.1f}"
        + ("" if gap.interval is None else f" ({100 * gap.interval.low:.1f} to {100 * gap.interval.high:.1f})")
        + f"; objects in {gap.units}"
        for name, gap in zip(names, gaps, strict=True)
    ]
    bars = {
        "type": "data",
        "symmetric": False,
        "color": tone,
        "thickness": 1.5,
        "array": [round(100 * (high - gap.gap), 3) for gap, (_, high) in zip(gaps, ends, strict=True)],
        "arrayminus": [round(100 * (gap.gap - low), 3) for gap, (low, _) in zip(gaps, ends, strict=True)],
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": title,
        "showlegend": True,
        "x": [round(100 * gap.gap, 3) for gap in gaps],
        "y": list(names),
        "error_x": bars,
        "text": words,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": tone, "size": 9, "symbol": "circle-open" if gaps[0].interval is None else "circle"},
    }
