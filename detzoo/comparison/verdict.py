"""Which detector should I take? A paragraph, made from the numbers of a comparison and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from detzoo.comparison.ranking import Ranked, RankedRows

MOST_NAMED: Final = 4
"""Detectors whose names are told; of more the number."""
NOTABLY: Final = 1.2
"""A detector that is so many times as fast as the best is worth a sentence."""


def verdict(ranking: RankedRows, place: str) -> str:
    """What these test images say.

    Args:
        ranking: the rows.
        place: name of the dataset and its split.

    Returns:
        sentences; at least one.
    """
    rows = ranking.rows
    if not rows or rows[0].low is None:
        return " ".join(_without_intervals(ranking, place))
    if len(rows) == 1:
        alone = f"On {place} ({_units(ranking)}), {_with_interval(rows[0])}. There is nothing to compare it with."
        return " ".join([alone, *_left_out(ranking)])
    leaders = ranking.leaders
    said = _one_best(ranking, place) if len(leaders) == 1 else _ties(ranking, place, leaders)
    return " ".join([*said, *_left_out(ranking)])


def _without_intervals(ranking: RankedRows, place: str) -> list[str]:
    if not ranking.rows:
        return [f"On {place} nothing can be ranked: no row has detections, from which to tell what its AP is worth."]
    first = ranking.rows[0]
    return [
        f"On {place} ({_units(ranking)}), too few {ranking.drawn} have objects of a class to tell what a difference is "
        f"worth: that {first.name} has the highest AP, {100 * first.ap:.1f}, is no reason to take it. Label more test "
        f"{ranking.drawn}."
    ]


def _one_best(ranking: RankedRows, place: str) -> list[str]:
    best, *others = ranking.rows
    rest = f"{others[0].name}" if len(others) == 1 else f"all {len(others)} others"
    said = [f"On {place} ({_units(ranking)}), {_with_interval(best)}, and is told from {rest}: take {best.name}."]
    quick = min((row for row in others if row.latency is not None), key=_latency, default=None)
    if quick is not None and best.latency is not None and quick.is_faster(best) and _times(best, quick) >= NOTABLY:
        said.append(
            f"Where speed decides: {quick.name} is {_times(best, quick):.1f} times as fast ({quick.time}) and has "
            f"{100 * quick.ap:.1f} AP."
        )
    return said


def _ties(ranking: RankedRows, place: str, leaders: Sequence[Ranked]) -> list[str]:
    best, *others = leaders
    said = [f"On {place} ({_units(ranking)}), {_with_interval(best)}; {_names(others)} cannot be told from it."]
    rest = len(ranking.rows) - len(leaders)
    if rest:
        said.append(f"The other {rest} are worse." if rest > 1 else "The other one is worse.")
    taken, why = _quickest(leaders)
    if taken is None:
        rival = min(others, key=_needed)
        return [*said, "None of them was timed.", _more(ranking, rival)]
    untimed = [row for row in leaders if row.latency is None]
    aside = f" ({_names(untimed)} {'was' if len(untimed) == 1 else 'were'} not timed)" if untimed else ""
    rival = min(others, key=_needed) if taken is best else taken
    return [*said, f"{why} take {taken.name}{aside}.", _more(ranking, rival)]


def _quickest(leaders: Sequence[Ranked]) -> tuple[Ranked | None, str]:
    """The one to take, and why."""
    timed = [row for row in leaders if row.latency is not None]
    if not timed:
        return None, ""
    first = min(timed, key=_latency)
    alike = [row for row in timed if not first.is_faster(row)]  # in order of AP; holds the first itself
    if len(alike) == len(timed) > 1:
        return alike[0], f"Those that tie are about as fast ({first.time} to {max(timed, key=_latency).time}):"
    if len(alike) > 1:
        return alike[0], f"{_names(alike)} are the fastest of them ({alike[0].time}):"
    most = "faster of the two" if len(timed) == 2 else "fastest of them"
    return first, f"{first.name} is the {most} ({first.time}):"


def _more(ranking: RankedRows, rival: Ranked) -> str:
    """What would settle it."""
    best, drawn = ranking.rows[0].name, ranking.drawn
    if rival.more is None:
        return f"No number of test {drawn} that one would label tells {best} from {rival.name}."
    return f"Or label {rival.more} more test {drawn}: so many would settle {best} against {rival.name}."


def _needed(row: Ranked) -> float:
    return float("inf") if row.more is None else row.more


def _left_out(ranking: RankedRows) -> list[str]:
    count = len(ranking.left_out)
    if not ranking.rows or not count:
        return []
    who = ranking.left_out[0] if count == 1 else f"{count} rows"
    return [f"{who} cannot be ranked with them: other images, or no detections."]


def _units(ranking: RankedRows) -> str:
    return f"{ranking.number} {ranking.drawn}"


def _with_interval(row: Ranked) -> str:
    assert row.low is not None
    assert row.high is not None
    return f"{row.name} has an AP of {100 * row.ap:.1f} ({100 * row.low:.1f} to {100 * row.high:.1f})"


def _names(rows: Sequence[Ranked]) -> str:
    names = [row.name for row in rows]
    if len(names) > MOST_NAMED:
        names = [*names[: MOST_NAMED - 1], f"{len(names) - MOST_NAMED + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _latency(row: Ranked) -> float:
    assert row.latency is not None
    return row.latency


def _times(slow: Ranked, quick: Ranked) -> float:
    return _latency(slow) / _latency(quick)
