"""The table over seeds: recipes of which several trainings are compared, ranked by their mean AP.

A row of the main table is one training. Here a row is a recipe: its AP is the mean over seeds, and intervals, ties and
P(best) hold for other images and for other seeds alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detzoo.comparison.seed_groups import SeedGroup, seed_groups
from detzoo.comparison.settling import BEST, units_of
from detzoo.comparison.ties import RESAMPLED, comparable, interval_cells, shares_best, tie_letters
from detzoo.evaluation.intervals import ENOUGH, LEVEL, Support, interval_of
from detzoo.evaluation.seeds import SeedValues, around, difference_variance
from detzoo.evaluation.settling import POWER, Variance
from detzoo.runtime.text_table import Column, Table, percent

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry

COLUMNS: Final = (
    Column("name", "detector", None),
    Column("seeds", "seeds", None),
    percent("AP", "AP %, mean"),
    Column("AP_interval", f"AP {100 * LEVEL:g} %", None),
    Column("AP_low", "AP from", 1, 100.0, only_in_files=True),
    Column("AP_high", "AP to", 1, 100.0, only_in_files=True),
    Column("spread", "± over seeds", 1, 100.0),
    Column("by_seed", "AP % of each", None),
    Column("ties", "ties", None),
    Column("p_best", "best in %", 0, 100.0),
    Column("more_images", "images to settle", 0),
    Column("more_seeds", "seeds to settle", 0),
)
ONE_SEED: Final = "one seed"
NOT_ALONE: Final = "not alone"
"""In place of a number of images, or of seeds, that would not do while there are not more of the others."""


def seed_table(title: str, entries: Sequence[ComparisonEntry]) -> Table | None:
    """Recipes by their mean AP; None where no recipe was trained with two seeds.

    Args:
        title: of the data.
        entries: rows of the comparison.
    """
    facts = comparable({n: f for n, entry in enumerate(entries) if (f := entry.analysis.get(RESAMPLED)) is not None})
    groups, notes = seed_groups(entries, list(facts))
    if not any(group.seeds for group in groups):
        return None
    known = [
        (group, SeedValues(tuple(facts[n]["AP"] for n in group.rows), values_of([facts[n] for n in group.rows])))
        for group in groups
    ]
    known.sort(key=lambda pair: -pair[1].number)
    fact = next(iter(facts.values()))
    support = Support(tuple(fact["groups"]), ENOUGH)
    rows, absent = first_cells(known, support, fact["number"])
    if support.is_enough and len(known) > 1:
        leading = rank([own for _, own in known], support, fact["number"], rows, absent)
    else:
        leading = set()
    notes = [
        f"a row is a recipe: the mean over its seeds, with a {100 * LEVEL:g} % confidence interval over "
        f"{units_of(fact)} and over seeds; the spread is the standard deviation over seeds. Where there is {ONE_SEED}, "
        "its part is not known and not in the interval",
        f"to settle: so many more images, or seeds of each, would tell a row from the best with a probability of "
        f"{100 * POWER:g} %, if the difference seen is true and the new ones are like these; 0: these do; "
        f"{NOT_ALONE}: the part of the other is too large",
        *notes,
    ]
    return Table(f"{title}, over seeds", COLUMNS, rows, notes, absent=absent, leading={"AP": leading})


def values_of(facts: Sequence[dict[str, Any]]) -> Any:
    """AP by seed and resample [k,B]."""
    return np.array([fact["values"] for fact in facts], dtype=np.float64)


def first_cells(
    known: Sequence[tuple[SeedGroup, SeedValues]], support: Support, units: int
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """What each recipe says by itself, and why a cell is empty."""
    rows: list[dict[str, Any]] = []
    absent: list[dict[str, str]] = []
    for group, own in known:
        row = {"name": group.name, "AP": own.number, "seeds": ", ".join(map(str, group.seeds))}
        row |= interval_cells(own.interval(support, units))
        if group.seeds:
            row |= {"spread": own.spread, "by_seed": ", ".join(f"{100 * ap:.1f}" for ap in own.numbers)}
            absent.append({})
        else:
            del row["seeds"]
            absent.append(dict.fromkeys(("seeds", "spread", "by_seed"), ONE_SEED))
        rows.append(row)
    return rows, absent


def rank(
    known: Sequence[SeedValues], support: Support, units: int, rows: list[dict[str, Any]], absent: list[dict[str, str]]
) -> set[int]:
    """Add letters of ties, P(best) and what would settle each row against the first.

    Returns:
        rows that are not told from the first, itself among them.
    """
    pairs = {(a, b): pair_of(known[a], known[b], support, units) for b in range(len(known)) for a in range(b)}
    apart = {places for places, (_, told) in pairs.items() if told}
    absent[0] |= {"more_images": BEST, "more_seeds": BEST}
    for place in range(1, len(known)):
        variance, told = pairs[0, place]
        gap = known[0].number - known[place].number
        more = {
            "more_images": 0 if told else variance.more_units(gap),
            "more_seeds": 0 if told else variance.more_seeds(gap),
        }
        rows[place] |= {key: number for key, number in more.items() if number is not None}
        absent[place] |= {key: NOT_ALONE for key, number in more.items() if number is None}
        if not variance.seeds and not told:
            absent[place] |= {"more_seeds": ONE_SEED}
    drawn = np.stack([own.two_level(place) for place, own in enumerate(known)])
    for row, letters, share in zip(rows, tie_letters(len(known), apart), shares_best(drawn), strict=True):
        row |= {"ties": letters, "p_best": share}
    return {place for place in range(len(known)) if (0, place) not in apart}


def pair_of(one: SeedValues, other: SeedValues, support: Support, units: int) -> tuple[Variance, bool]:
    """The variance of a difference, and whether it leaves out 0."""
    variance = difference_variance(one, other, support, units)
    if variance.seeds:
        interval = around(one.number - other.number, variance, LEVEL)
    else:
        interval = interval_of(one.values[0] - other.values[0], support, LEVEL)
    return variance, interval is not None and not interval.low <= 0 <= interval.high
