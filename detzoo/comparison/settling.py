"""What a comparison's images can show, and how many more would tell a row from the best one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detzoo.evaluation.intervals import LEVEL, Support
from detzoo.evaluation.settling import MOST, POWER, Variance

if TYPE_CHECKING:
    from detzoo.evaluation.weighted_precision import Floats

BEST: Final = "the best"
"""In place of what would tell the best row from itself."""
MORE: Final = "more_images"
"""Column of the table."""
NEVER: Final = f"over {MOST} times as many"
"""In place of a number of images that would tell a row from the best: the two are as good as equal."""


def images_to_settle(
    facts: Sequence[Mapping[str, Any]], values: Floats, support: Support, apart: Collection[tuple[int, int]]
) -> list[tuple[dict[str, int], dict[str, str]]]:
    """For each row the cell with the images that would tell it from the first, and why there is none.

    Args:
        facts: of the rows, the best first: AP, and the number of images (or groups).
        values: AP by resample [N,B].
        support: what stands behind them.
        apart: pairs of rows that are told apart as it is.
    """
    found: list[tuple[dict[str, int], dict[str, str]]] = [({}, {MORE: BEST})]
    for place in range(1, len(facts)):
        gap = float(facts[0]["AP"]) - float(facts[place]["AP"])
        own = Variance(float(np.nanvar(values[0] - values[place], ddof=1)), support, facts[0]["number"])
        more = 0 if (0, place) in apart else own.more_units(gap)
        found.append(({}, {MORE: NEVER}) if more is None else ({MORE: more}, {}))
    return found


def units_of(fact: Mapping[str, Any]) -> str:
    """What was drawn, counted: ``60 images``."""
    return f"{fact['number']} {fact['drawn']}"


def ties_notes(values: Floats, support: Support, fact: Mapping[str, Any]) -> list[str]:
    """What letters mean, and which differences the images can show.

    Args:
        values: AP by resample [N,B] of at least two rows.
        support: what stands behind them.
        fact: of a row: what was drawn.
    """
    pairs = [(a, b) for a in range(len(values)) for b in range(a + 1, len(values))]
    middle = float(np.median([np.nanstd(values[a] - values[b], ddof=1) for a, b in pairs]))
    typical = Variance(middle**2, support, fact["number"])
    return [
        f"ties: detectors that share a letter cannot be told apart by these {units_of(fact)} (paired differences, each "
        f"at {100 * LEVEL:g} %), and all that cannot be told from the best AP are in bold. best in %: share of the "
        "resamples that it leads",
        f"what these {units_of(fact)} show, of the median pair: a difference of {100 * typical.half_width():.1f} AP, "
        "once seen, is told from none (half the width of its interval); one that is truly "
        f"{100 * typical.detectable():.1f} AP is seen by {100 * POWER:g} % of such test sets",
    ]


def settling_notes(
    names: Sequence[str], more: Sequence[tuple[Mapping[str, int], Mapping[str, str]]], fact: Mapping[str, Any]
) -> list[str]:
    """What the nearest pair would take; nothing where no row has a number of images.

    Args:
        names: of rows, the best first.
        more: of ``images_to_settle``.
        fact: of a row: what was drawn.
    """
    needed = {name: cell[MORE] for name, (cell, _) in zip(names, more, strict=True) if cell.get(MORE)}
    if not needed:
        return []
    other, drawn = min(needed, key=lambda name: needed[name]), fact["drawn"]
    return [
        f"{drawn} to settle: {needed[other]} more test {drawn} would settle {names[0]} against {other}; a row is told "
        f"from the best with a probability of {100 * POWER:g} % by so many more, if the difference seen is true "
        "and the new ones are like these; 0: these do"
    ]
