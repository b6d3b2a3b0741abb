"""``detzoo matrix``: try what has not been tried, then write the table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detzoo.errors import RecipeError
from detzoo.matrix.combinations import Combination, all_combinations, component_names
from detzoo.matrix.ledger import Ledger, Row, chosen
from detzoo.matrix.page import write_files
from detzoo.registry import get_registry

EVERY: Final = 5.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True)
class MatrixPlan:
    """What is to be combined.

    Args:
        out: folder of the ledger and the tables; an interrupted matrix goes on.
        only: kind -> the names that are wanted; all of a kind that is not named.
    """

    out: Path
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Matrix:
    """What ``run`` gives.

    Args:
        rows: of the combinations that were asked for and tried.
        files: that were written.
        stopped: whether Ctrl-C ended it before all were tried.
    """

    rows: list[Row]
    files: list[Path]
    stopped: bool


def run(plan: MatrixPlan, say: Callable[[str], None] = lambda _: None) -> Matrix:
    """Try every combination that the folder does not hold yet.

    Args:
        plan: what and where.
        say: is told what happens, a line at a time.

    Raises:
        RecipeError: a name that is not registered.
        DataError: the folder holds something else.
    """
    names = component_names()
    for kind, wanted in plan.only.items():
        for name in wanted:
            if name not in names[kind]:
                raise RecipeError(f"--{kind}: {get_registry().missing_component(kind, name)}")
    combinations = chosen(all_combinations(), dict(plan.only))
    ledger = Ledger(plan.out)
    missing = [one for one in combinations if one.key not in ledger.rows]
    say(f"{len(combinations)} combinations, {len(combinations) - len(missing)} tried before")
    stopped = False
    try:
        _try_all(missing, ledger, say)
    except KeyboardInterrupt:
        stopped = True
    rows = [ledger.rows[one.key] for one in combinations if one.key in ledger.rows]
    return Matrix(rows, write_files(plan.out, rows), stopped)


def _try_all(missing: list[Combination], ledger: Ledger, say: Callable[[str], None]) -> None:
    from detzoo.matrix.trial import try_combination

    told = time.monotonic()
    for count, combination in enumerate(missing, 1):
        row = Row(combination, try_combination(combination))
        ledger.add(row)
        if row.outcome.status == "broken":
            say(f"broken: {combination.key}: {row.outcome.reason}")
        if time.monotonic() - told > EVERY or count == len(missing):
            told = time.monotonic()
            say(f"{count} of {len(missing)}: {counted(list(ledger.rows.values()))}; last {combination.key}")


def counted(rows: list[Row]) -> str:
    """``310 work, 80 refused, 0 broken``."""
    found = Counter(row.outcome.status for row in rows)
    return f"{found['works']} work, {found['refused']} refused, {found['broken']} broken"


__all__ = ["Matrix", "MatrixPlan", "counted", "run"]
