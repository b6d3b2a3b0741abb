"""``detzoo matrix``: try what has not been tried, then write the table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detzoo.errors import RecipeError
from detzoo.matrix.combinations import Combination, all_combinations, chosen, component_names
from detzoo.matrix.ledger import LEDGER, MatrixLedger, Row
from detzoo.matrix.page import write_files
from detzoo.plugins.registry import get_registry
from detzoo.recipes.compatibility import heads
from detzoo.runtime.folder_claim import claimed_folder

EVERY: Final = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class MatrixPlan:
    """What is to be combined.

    Args:
        out: folder of the ledger and the tables; an interrupted matrix goes on.
        only: kind -> the names that are wanted; all of a kind that is not named.
        again: try what was tried before as well; what was broken is always tried again.
    """

    out: Path
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    again: bool = False


@dataclass(frozen=True)
class Matrix:
    """What ``run`` gives.

    Args:
        rows: of the combinations that were asked for and tried.
        files: that were written, of all that the folder holds.
        stopped: whether Ctrl-C ended it before all were tried.
    """

    rows: list[Row]
    files: list[Path]
    stopped: bool


def run(plan: MatrixPlan, say: Callable[[str], None] = lambda _: None) -> Matrix:
    """Try every combination that the folder does not hold yet.

    Args:
        plan: what and where.
        say: progress callback, one message per call.

    Raises:
        RecipeError: a name that is not registered, or kinds that are not combined.
        DataError: the folder holds something else, or another matrix is at work in it.
    """
    everything = all_combinations()
    combinations = asked_for(everything, plan.only)
    with claimed_folder(plan.out, marker=LEDGER, what="matrix"):
        ledger = MatrixLedger(plan.out)
        known = {} if plan.again else {key: row for key, row in ledger.rows.items() if row.outcome.status != "broken"}
        missing = [one for one in combinations if one.key not in known]
        say(f"{len(combinations)} combinations, {len(combinations) - len(missing)} tried before")
        stopped = False
        try:
            _try_all(missing, ledger, say)
        except KeyboardInterrupt:
            stopped = True
        files = write_files(plan.out, ledger.of(everything))
        return Matrix(ledger.of(combinations), files, stopped)


def asked_for(everything: list[Combination], only: Mapping[str, tuple[str, ...]]) -> list[Combination]:
    """The combinations of the wanted names.

    Raises:
        RecipeError: a name that is not registered, or kinds that are not combined.
    """
    registry, names = get_registry(), component_names()
    asked: dict[str, tuple[str, ...]] = {}
    for kind, wanted in only.items():
        ids = {
            one.id: registry.canonical(one) for one in (heads(registry) if kind == "head" else registry.entries(kind))
        }
        asked[kind] = tuple(ids.get(name, name) for name in wanted)
        for name in asked[kind]:
            if name not in names[kind]:
                raise RecipeError(f"--{kind}: {registry.missing_component(kind, name)}")
    found = chosen(everything, asked)
    if not found:
        raise RecipeError(
            f"{', '.join(f'--{kind}' for kind in only)}: these kinds are not combined all at once: backbone, neck and "
            "head are, and any two kinds of which one is matcher, loss or postprocess; leave some out"
        )
    return found


def _try_all(missing: list[Combination], ledger: MatrixLedger, say: Callable[[str], None]) -> None:
    from detzoo.matrix.trial import try_combination

    told = time.monotonic()
    rows = []
    for count, combination in enumerate(missing, 1):
        row = Row(combination, try_combination(combination))
        rows.append(row)
        ledger.add(row)
        if row.outcome.status == "broken":
            say(f"broken: {combination.key}: {row.outcome.reason}")
        if time.monotonic() - told > EVERY or count == len(missing):
            told = time.monotonic()
            say(f"{count} of {len(missing)}: {counted(rows)}; last {combination.key}")


def counted(rows: list[Row]) -> str:
    """``310 work, 80 refused, 0 broken``."""
    found = Counter(row.outcome.status for row in rows)
    return f"{found['works']} work, {found['refused']} refused, {found['broken']} broken"


__all__ = ["Matrix", "MatrixPlan", "counted", "run"]
