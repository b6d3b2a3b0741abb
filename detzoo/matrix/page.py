"""The matrix as a page of tables, and row by row as CSV."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from detzoo.matrix.combinations import KINDS, Combination
from detzoo.matrix.ledger import Row, versions
from detzoo.matrix.outcome import TrialOutcome
from detzoo.runtime import report_text
from detzoo.runtime.atomic_files import write_text
from detzoo.runtime.report_text import markdown_text, read_csv_cell

PAGE: Final = "matrix.md"
ROWS: Final = "matrix.csv"
_COLUMNS: Final = (*KINDS, "status", "recipe", "values", "reason")
_WORKS, _BROKEN, _UNTRIED = "●", "**broken**", ""


def write_files(out: Path, rows: Sequence[Row]) -> list[Path]:
    """Write matrix.md and matrix.csv."""
    write_text(out / PAGE, page(rows))
    write_text(out / ROWS, csv_text(rows))
    return [out / PAGE, out / ROWS]


def csv_text(rows: Sequence[Row]) -> str:
    """One line per combination; ``values`` says whose are kept for parameters that both components have."""
    lines = []
    for row in rows:
        outcome = row.outcome
        values = "" if not outcome.recipe else "recipe's" if outcome.carry else "defaults"
        told = {"status": outcome.status, "recipe": outcome.recipe, "values": values, "reason": outcome.reason}
        cells = dict(row.combination.parts) | told
        lines.append([cells.get(column, "") for column in _COLUMNS])
    return report_text.csv_text([_COLUMNS, *lines])


def read_csv(path: Path) -> list[Row]:
    """The rows of a written matrix."""
    with path.open(encoding="utf-8", newline="") as file:
        return [_row({key: read_csv_cell(text) for key, text in line.items()}) for line in csv.DictReader(file)]


def _row(line: Mapping[str, str]) -> Row:
    parts = {kind: line[kind] for kind in KINDS if line[kind]}
    status: str = line["status"]
    outcome = TrialOutcome(status, line["reason"], line["recipe"], line["values"] != "defaults")  # type: ignore[arg-type]
    return Row(Combination(parts), outcome)


def page(rows: Sequence[Row]) -> str:
    """Everything as Markdown."""
    notes = Notes()
    tables = [_cube(rows, notes), *_pairs(rows, notes)]
    counts = Counter(row.outcome.status for row in rows)
    intro = (
        f"{len(rows)} combinations: {counts['works']} work, {counts['refused']} are refused, {counts['broken']} are "
        f"broken. Made by `detzoo matrix` with {', '.join(versions())}; each combination, the recipe that it started "
        f"from and its own reason stand in [{ROWS}]({ROWS})."
    )
    return "\n\n".join(["# What works with what", intro, LEGEND, *filter(None, tables), notes.text()]) + "\n"


LEGEND: Final = """\
A combination is made as a user would make it: a recipe that holds the head, with `--set` for what is exchanged, tried
from up to six recipes, once with the recipe's values for parameters that both components have and once with the
component's own. ● was built, trained one step and predicted with. A number is the reason, below, for which the nearest
recipe refuses it: by name where parts cannot go together, and by what else must be set where they could, such as
anchors for another number of maps. Nothing here says how well a combination learns."""


SHARED: Final = f"""\
Cells whose reasons differ in names and numbers alone share a number; the first of them stands here, and that of each
combination in [{ROWS}]({ROWS})."""


@dataclass
class Notes:
    """Reasons by number; those that differ in names and numbers alone share one."""

    known: dict[str, tuple[int, str]] = field(default_factory=dict)

    def mark(self, outcome: TrialOutcome | None) -> str:
        """A cell."""
        if outcome is None:
            return _UNTRIED
        if outcome.status == "works":
            return _WORKS
        if outcome.status == "broken":
            return _BROKEN
        number, _ = self.known.setdefault(alike(outcome.reason), (len(self.known) + 1, outcome.reason))
        return str(number)

    def text(self) -> str:
        """The list of reasons, each by its first example."""
        lines = [f"{number}. {_escaped(reason)}" for number, reason in self.known.values()]
        return "\n".join(["## Reasons", "", SHARED, "", *lines]) if lines else ""


def alike(reason: str) -> str:
    """A reason without what differs from case to case: where, names, numbers, lists of them, the nearest name."""
    text = re.sub(r"^[\w.\[\]]+: | \(did you mean [^)]*\)", "", reason)
    text = re.sub(r"which [^;]* not give", "which … not give", text)
    text = re.sub(r"(given by|found:|gives:?|there are:|has:|gets) [^.;]*", r"\1 …", text)
    return re.sub(r"…(, …)+", "…", re.sub(r'"[^"]*"|\b\w*\d[\w@]*|\b[A-Z]\w+', "…", text))


def _escaped(text: str) -> str:
    return markdown_text(text).replace("{{", "{ {")  # mkdocs would fill it in


def _cube(rows: Sequence[Row], notes: Notes) -> str:
    """One table per neck: backbones down, heads across."""
    whole = {tuple(row.combination.parts[kind] for kind in KINDS[:3]): row.outcome for row in rows if _is_whole(row)}
    backbones, necks, heads = (sorted({key[i] for key in whole}) for i in range(3))
    tables = []
    for neck in necks:
        grid = [[notes.mark(whole.get((backbone, neck, head))) for head in heads] for backbone in backbones]
        tables.append(f"### Neck `{neck}`\n\n" + _table("backbone", backbones, heads, grid))
    return "\n\n".join(["## Backbone x neck x head", *tables]) if tables else ""


def _is_whole(row: Row) -> bool:
    return set(row.combination.parts) == set(KINDS[:3])


def _pairs(rows: Sequence[Row], notes: Notes) -> list[str]:
    """One table for each pair of kinds."""
    outcomes = {tuple(row.combination.parts.items()): row.outcome for row in rows if not _is_whole(row)}
    tables = []
    for one, other in itertools.combinations(KINDS, 2):
        found = {(key[0][1], key[1][1]): out for key, out in outcomes.items() if [k for k, _ in key] == [one, other]}
        if not found:
            continue
        down, across = (sorted({key[i] for key in found}) for i in range(2))
        grid = [[notes.mark(found.get((row, column))) for column in across] for row in down]
        tables.append(f"## {one.capitalize()} x {other}\n\n" + _table(one, down, across, grid))
    return tables


def _table(corner: str, down: Sequence[str], across: Sequence[str], grid: Sequence[Sequence[str]]) -> str:
    lines = [f"| {corner} | {' | '.join(map(markdown_text, across))} |", "|---|" + ":-:|" * len(across)]
    lines += [f"| {markdown_text(name)} | {' | '.join(cells)} |" for name, cells in zip(down, grid, strict=True)]
    return "\n".join(lines)


__all__ = ["PAGE", "ROWS", "csv_text", "page", "read_csv", "write_files"]
