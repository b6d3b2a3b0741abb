"""The rows of a comparison that may be ranked, the best AP first: what the verdict and the ranking are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from detzoo.comparison.ties import RESAMPLED, comparable, letters_apart
from detzoo.comparison.tradeoff import known

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.runtime.text_table import Table


UNKNOWN_SPREAD: Final = 0.05
"""Part of a latency by which it is taken to be off, where no turns at other moments were recorded."""


@dataclass(frozen=True)
class Ranked:
    """A row, on the images that most rows share.

    Args:
        name: of the row.
        ap: 0..1.
        low: end of its interval over test images; None where there is none.
        high: the other end.
        letters: rows that share one cannot be told apart; empty where nothing can be said of pairs.
        more: units that would tell it from the first row; 0: these do; None: no number does, or it is that row.
        latency: median, ms; None where it is not known, or was measured under another protocol than most.
        latency_off: how far that was off at other moments, ms.
    """

    name: str
    ap: float
    low: float | None = None
    high: float | None = None
    letters: str = ""
    more: int | None = None
    latency: float | None = None
    latency_off: float = 0.0

    @property
    def time(self) -> str:
        """Its latency, for people; empty where it is not known."""
        if self.latency is None:
            return ""
        return f"{self.latency:,.0f} ms" if self.latency >= 100 else f"{self.latency:.3g} ms"

    def is_apart(self, other: Ranked) -> bool:
        """Whether the test images tell the two apart."""
        return letters_apart(self.letters, other.letters)

    def is_faster(self, other: Ranked) -> bool:
        """Whether its latency lies below the other's by more than both were off."""
        if self.latency is None or other.latency is None:
            return False
        return self.latency + self.latency_off < other.latency - other.latency_off


@dataclass(frozen=True)
class RankedRows:
    """All that may be ranked.

    Args:
        rows: the best AP first.
        number: of the units that were resampled; 0 where nothing was.
        drawn: what they are: ``images`` or groups of them.
        left_out: rows with an AP that were evaluated on other images, or whose detections are not known.
    """

    rows: Sequence[Ranked] = ()
    number: int = 0
    drawn: str = "images"
    left_out: Sequence[str] = ()

    @property
    def leaders(self) -> list[Ranked]:
        """Those that cannot be told from the first, that one included."""
        return [row for row in self.rows if not row.is_apart(self.rows[0])]


def ranking_of(entries: Sequence[ComparisonEntry], table: Table) -> RankedRows:
    """From the table's cells, which ``ties_of`` has filled."""
    facts = {n: fact for n, entry in enumerate(entries) if (fact := entry.analysis.get(RESAMPLED)) is not None}
    shared = comparable(facts)
    others = [entry.name for n, entry in enumerate(entries) if n not in shared]
    if not shared:
        return RankedRows(left_out=others)
    fact = next(iter(shared.values()))
    marks = table.marks or [{} for _ in table.rows]
    rows = [ranked(table.rows[n], marks[n]) for n in shared]
    return RankedRows(rows, fact["number"], fact["drawn"], others)


def ranked(row: Mapping[str, Any], marks: Mapping[str, str]) -> Ranked:
    """One row; a latency of another protocol is none."""
    latency, spread = row.get("latency_p50_ms"), row.get("latency_spread")
    facts: dict[str, float] = {}
    if known(latency) and latency > 0 and not marks.get("latency_p50_ms"):
        facts = {"latency": latency, "latency_off": latency * (spread if known(spread) else UNKNOWN_SPREAD)}
    ends = row.get("AP_low"), row.get("AP_high")
    return Ranked(row["name"], row["AP"], *ends, row.get("ties", ""), row.get("more_images"), **facts)
