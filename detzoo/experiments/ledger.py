"""``sweep.json``: what a sweep is to do, and what it has done; replaced whole after each change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from detzoo.errors import DataError, TrainingError
from detzoo.experiments.job import Outcome
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.differences import differences
from detzoo.runtime.foreign_files import is_ordinary, read_text
from detzoo.runtime.json_text import parse_json

FORMAT: Final = "detzoo.sweep/1"
SWEEP: Final = "sweep.json"
NOT_SETTINGS: Final = ("reported", "summary", "paper")
"""Keys of a recipe that change no training."""


@dataclass
class LedgerEntry:
    """One run of a sweep.

    Args:
        name: its folder below ``runs``.
        overrides: that make its recipe.
        digest: of the resolved recipe; empty where there is none, because the overrides do not go together.
        outcome: how far it is.
    """

    name: str
    overrides: tuple[str, ...]
    digest: str
    outcome: Outcome


@dataclass
class Ledger:
    """All runs of a folder.

    Args:
        out: the folder.
        settings: what all runs share; they can only be compared while it stays.
        entries: runs by name, in the order in which they were added.
    """

    out: Path
    settings: dict[str, Any]
    entries: dict[str, LedgerEntry] = field(default_factory=dict)

    def save(self) -> None:
        """Write sweep.json."""
        runs = [
            {"name": e.name, "overrides": list(e.overrides), "digest": e.digest} | outcome_values(e.outcome)
            for e in self.entries.values()
        ]
        text = json.dumps({"format": FORMAT, "settings": self.settings, "runs": runs}, indent=1)
        write_text(self.out / SWEEP, text + "\n")

    def note(self, outcome: Outcome) -> None:
        """Record how a run ended, or that it runs."""
        self.entries[outcome.name].outcome = outcome
        self.save()


def outcome_values(outcome: Outcome) -> dict[str, Any]:
    """An outcome without its name, and without what is not known."""
    return {k: v for k, v in dataclasses.asdict(outcome).items() if k != "name" and v not in (None, "")}


def open_ledger(out: Path, settings: dict[str, Any]) -> Ledger:
    """The ledger of a folder: that of an earlier call, or a new one.

    Raises:
        DataError: sweep.json is damaged.
        TrainingError: the earlier sweep had other settings.
    """
    if not is_ordinary(out / SWEEP):
        return Ledger(out, settings)
    recorded = read_ledger(out)
    found = differences(recorded.settings, json.loads(json.dumps(settings)))
    if found:
        lines = "\n".join(f"  {key}: {was!r} in the sweep, {now!r} now" for key, was, now in found)
        raise TrainingError(
            f"{out}: this sweep was made with other settings, so that its runs could not be compared:\n{lines}\n"
            "Repeat the command with the same values, or choose another --out."
        )
    return recorded


def read_ledger(out: Path) -> Ledger:
    """What sweep.json holds.

    Raises:
        DataError: it is damaged, or not detzoo's.
    """
    path = out / SWEEP
    try:
        values = parse_json(read_text(path), f"{path}: not a sweep of detzoo; choose another --out")
        if values["format"] != FORMAT:
            raise DataError(f"{path}: its format is {values['format']!r}, not {FORMAT!r}; upgrade detzoo to read it")
        entries = [entry_of(run) for run in values["runs"]]
        return Ledger(out, values["settings"], {entry.name: entry for entry in entries})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a sweep of detzoo ({type(error).__name__}: {error}); choose another --out"
        ) from None


def entry_of(run: Mapping[str, Any]) -> LedgerEntry:
    """One run of the file. What was running when the file was written is to be gone on with."""
    rest = {k: v for k, v in run.items() if k not in ("overrides", "digest")}
    if rest["state"] == "running":
        rest["state"] = "stopped"
    return LedgerEntry(run["name"], tuple(run["overrides"]), run["digest"], Outcome(**rest))


def recipe_digest(values: Mapping[str, Any]) -> str:
    """Tells trainings apart by what decides them."""
    decisive = {k: v for k, v in values.items() if k not in NOT_SETTINGS}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
