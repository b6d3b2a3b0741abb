"""Which detectors of a comparison can be told apart: the AP of each over the same resamples of the test images.

Letters: B resamples.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detzoo.comparison.settling import images_to_settle, settling_notes, ties_notes, units_of
from detzoo.evaluation.intervals import ENOUGH, LEVEL, Interval, Support, interval_of
from detzoo.runtime.text_table import Column

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.evaluation import Evaluation
    from detzoo.evaluation.weighted_precision import Floats

RESAMPLED: Final = "resampled"
"""Where an analysis keeps them."""
COLUMNS: Final = (
    Column("AP_interval", f"AP {100 * LEVEL:g} %", None),
    Column("AP_low", "AP from", 1, 100.0, only_in_files=True),
    Column("AP_high", "AP to", 1, 100.0, only_in_files=True),
    Column("ties", "ties", None),
    Column("p_best", "best in %", 0, 100.0),
    Column("more_images", "images to settle", 0),
)
"""After the AP."""
KEYS: Final = tuple(column.key for column in COLUMNS)
OTHER_IMAGES: Final = "other images"
"""In place of an interval where a row was evaluated on other images than most: some of them could not be read."""


def resampled_ap(evaluation: Evaluation) -> dict[str, Any]:
    """The AP of an evaluation and of each resample of its images, as JSON."""
    own = evaluation.resampled
    design = own.design
    return {
        "images": hashlib.sha256(json.dumps([[str(i) for i in design.images], design.units]).encode()).hexdigest(),
        "drawn": design.unit,
        "number": len(set(design.units)),
        "resamples": design.resamples,
        "seed": design.seed,
        "groups": list(own.support("AP").groups),
        "AP": own.number("AP"),
        "values": [None if np.isnan(value) else round(float(value), 6) for value in own.resamples("AP")],
    }


@dataclass(frozen=True)
class Ties:
    """What a comparison's images tell of its rows.

    Args:
        cells: for each row the cells of COLUMNS that have a value.
        absent: for each row column -> why there is none.
        leading: rows that cannot be told from the best; None where nothing can be said.
        notes: what the columns are.
    """

    cells: list[dict[str, Any]]
    absent: list[dict[str, str]]
    leading: frozenset[int] | None = None
    notes: list[str] = field(default_factory=list)


def ties_of(entries: Sequence[ComparisonEntry]) -> Ties:
    """Intervals and ties of the rows whose detections are known, on the images that most of them share."""
    facts = {n: fact for n, entry in enumerate(entries) if (fact := entry.analysis.get(RESAMPLED)) is not None}
    known = comparable(facts)
    cells: list[dict[str, Any]] = [{} for _ in entries]
    strangers = dict.fromkeys(KEYS, OTHER_IMAGES)
    absent = [strangers if n in facts and n not in known else {} for n in range(len(entries))]
    if not known:
        return Ties(cells, absent)
    rows, own = list(known), list(known.values())
    support = Support(tuple(own[0]["groups"]), ENOUGH)
    if not support.is_enough:
        why = f"no interval of AP: too few of the {units_of(own[0])} have objects of a class"
        return Ties(cells, absent, frozenset(), [why])
    values = np.array([fact["values"] for fact in own], dtype=np.float64)
    for row, fact, drawn in zip(rows, own, values, strict=True):
        cells[row] |= interval_cells(interval_of(drawn, support, LEVEL, fact["AP"]))
    notes = [interval_note(own[0])]
    if len(rows) < 2:
        return Ties(cells, absent, None, notes)
    apart = pairs_apart(values, support)
    for row, letters, share in zip(rows, tie_letters(len(rows), apart), shares_best(values), strict=True):
        cells[row] |= {"ties": letters, "p_best": share}
    more = images_to_settle(own, values, support, apart)
    for row, (cell, gap) in zip(rows, more, strict=True):
        cells[row] |= cell
        absent[row] = absent[row] | gap
    leading = frozenset(row for place, row in enumerate(rows) if (0, place) not in apart)
    return Ties(
        cells,
        absent,
        leading,
        [
            *notes,
            *ties_notes(values, support, own[0]),
            *settling_notes([entries[row].name for row in rows], more, own[0]),
        ],
    )


def comparable(facts: Mapping[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Of the rows with an AP those on the images that most share, the best first."""
    designs = {n: design(fact) for n, fact in facts.items() if fact["AP"] is not None}
    if not designs:
        return {}
    usual = Counter(designs.values()).most_common(1)[0][0]
    rows = sorted((n for n, own in designs.items() if own == usual), key=lambda n: -float(facts[n]["AP"]))
    return {n: facts[n] for n in rows}


def design(fact: Mapping[str, Any]) -> tuple[Any, ...]:
    """What has to be equal for two rows to be compared."""
    return (fact["images"], fact["resamples"], fact["seed"], tuple(fact["groups"]))


def interval_cells(interval: Interval | None) -> dict[str, Any]:
    """Of one row."""
    if interval is None:
        return {}
    text = f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    return {"AP_interval": text, "AP_low": interval.low, "AP_high": interval.high}


def pairs_apart(values: Floats, support: Support) -> set[tuple[int, int]]:
    """Pairs of rows (the better one first) whose difference leaves out 0, from their AP by resample [N,B]."""
    apart = set()
    for first in range(len(values)):
        for second in range(first + 1, len(values)):
            interval = interval_of(values[first] - values[second], support, LEVEL)
            if interval is not None and not interval.low <= 0 <= interval.high:
                apart.add((first, second))
    return apart


def shares_best(values: Floats) -> list[float]:
    """How often each row has the highest AP of a resample [N,B]; equal ones share it."""
    best = values == np.nanmax(values, axis=0)
    return [float(share) for share in (best / best.sum(axis=0)).mean(axis=1)]


def tie_letters(number: int, apart: Collection[tuple[int, int]]) -> list[str]:
    """Rows that share a letter cannot be told apart; the letters are as few as that takes.

    Args:
        number: of rows, the best first.
        apart: pairs that can be told apart.

    Source: Piepho, "An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons", Journal of
    Computational and Graphical Statistics 13(2), 2004: insert and absorb.
    """
    groups = [frozenset(range(number))]
    for one, other in sorted(apart):
        split = [part for group in groups for part in without_pair(group, one, other)]
        groups = [group for group in dict.fromkeys(split) if not any(group < larger for larger in split)]
    ordered = sorted(groups, key=sorted)
    return ["".join(letter(n) for n, group in enumerate(ordered) if row in group) for row in range(number)]


def without_pair(group: frozenset[int], one: int, other: int) -> list[frozenset[int]]:
    """A group, or the two that are left when a pair in it is told apart."""
    return [group - {one}, group - {other}] if one in group and other in group else [group]


def letter(place: int) -> str:
    """A to Z, then A1 to Z1 and so on: capitals, for small ones mark protocols."""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")


def letters_apart(one: str, other: str) -> bool:
    """Whether two rows have letters and share none; a letter is a capital and the digits that follow it."""
    return bool(one and other) and not letters_of(one) & letters_of(other)


def letters_of(text: str) -> frozenset[str]:
    """``AB1`` -> A, B1."""
    return frozenset(re.findall(r"[A-Z]\d*", text))


def interval_note(fact: Mapping[str, Any]) -> str:
    """What the interval of a row is."""
    return (
        f"AP {100 * LEVEL:g} %: confidence interval over test images, {fact['resamples']} resamples of "
        f"{units_of(fact)}; what another seed of the training would change is not in it"
    )
