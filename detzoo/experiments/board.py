"""What somebody who watches a sweep sees: a line for each start, epoch and end, and the table, best first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detzoo.experiments.job import Job, Outcome
from detzoo.experiments.ledger import LedgerEntry
from detzoo.runtime.text_table import Column, Table, percent
from detzoo.training.log import read_curve


class Board:
    """Follows runs by their curves.

    Args:
        total: runs of the sweep.
        done: of these, those that are finished already.
        say: progress callback, one message per call.
    """

    def __init__(self, total: int, done: int, say: Callable[[str], None]) -> None:
        self.total, self.number, self.say = total, done, say
        self._runs: dict[str, Path] = {}
        self._seen: dict[str, int] = {}

    def started(self, job: Job, device: str) -> None:
        """A run has begun."""
        self.number += 1
        self._runs[job.name] = job.command.out
        self._seen[job.name] = len(read_curve(job.command.out))
        again = f", after epoch {self._seen[job.name]}" if self._seen[job.name] else ""
        self.say(f"[{self.number}/{self.total}] {job.name}: training on {device}{again}")

    def look(self) -> None:
        """Tell what the runs have reached since the last look."""
        for name, run in self._runs.items():
            rows = read_curve(run)
            # A run that goes on first takes back the epochs after its last checkpoint
            for row in rows[min(self._seen[name], len(rows)) :]:
                scores = f"  AP {float(row['AP']):.1%}" if row.get("AP") else ""
                loss = f"  loss {float(row['loss']):.4f}" if row.get("loss") else ""
                self.say(f"{name}: epoch {row['epoch']}{loss}{scores}")
            self._seen[name] = len(rows)

    def ended(self, outcome: Outcome) -> None:
        """A run has ended."""
        self.look()
        self._runs.pop(outcome.name, None)
        reached = "" if outcome.AP is None else f": AP {outcome.AP:.1%} in epoch {outcome.best_epoch}"
        self.say(f"{outcome.name}: {outcome.state}{reached}{': ' + outcome.why if outcome.why else ''}")


def ranked(entries: Sequence[LedgerEntry]) -> list[LedgerEntry]:
    """Best AP first; then runs without one, those that failed last."""
    return sorted(entries, key=rank)


def rank(entry: LedgerEntry) -> tuple[int, float]:
    """Place in the table."""
    value = entry.outcome.AP
    known = value is not None and not math.isnan(value)
    return (0 if known else 2 if entry.outcome.state == "failed" else 1, -(value or 0.0) if known else 0.0)


def sweep_table(title: str, entries: Sequence[LedgerEntry], out: Path) -> Table:
    """The runs of a sweep, best first; why a run failed stands below."""
    rows: list[dict[str, Any]] = []
    notes = []
    failed: dict[str, list[str]] = {}
    for entry in ranked(entries):
        outcome = entry.outcome
        minutes = None if outcome.seconds is None else outcome.seconds / 60
        rows.append({**vars(outcome), "minutes": minutes})
        if outcome.state == "failed":
            failed.setdefault(outcome.why, []).append(entry.name)
        elif outcome.state != "done":
            notes.append(f"{entry.name}: {len(read_curve(out / 'runs' / entry.name))} epochs so far")
    notes += [f"failed: {'; '.join(names)}: {why}" for why, names in failed.items()]
    columns = [
        Column("name", "run", None),
        percent("AP", "AP %"),
        percent("AP50", "AP50 %"),
        Column("best_epoch", "best epoch", 0),
        Column("epochs", "epochs", 0),
        Column("minutes", "minutes", 1),
        Column("device", "device", None),
        Column("state", "state", None),
    ]
    return Table(title, columns, rows, tuple(notes))
