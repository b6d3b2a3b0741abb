"""One table of many detectors: for the terminal, as Markdown, CSV and JSON.

Measured and reported numbers never share a column: what a paper or a model zoo says stands in columns of its own, with
its dataset and protocol in a footnote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from detzoo.runtime.report_text import csv_text, markdown_text

MISSING: Final = "–"
FEW: Final = 30
"""Objects below which no number of a column is marked as the best: one of thirty is worth three points."""
_RAISED: Final = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


@dataclass(frozen=True)
class Column:
    """How one number of the rows is shown.

    Args:
        key: in the rows.
        title: with the unit.
        digits: after the point; None for text.
        factor: shown value = value x factor; CSV and JSON keep the value.
        best: which end is the better one, marked in bold where rows can be compared.
        only_in_files: shown in CSV and JSON alone.
        always: shown even where no row has a value.
    """

    key: str
    title: str
    digits: int | None = 1
    factor: float = 1.0
    best: Literal["high", "low"] | None = None
    only_in_files: bool = False
    always: bool = False

    def text(self, value: Any) -> str:
        """A cell."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return MISSING
        if self.digits is None or isinstance(value, str):
            return str(value)
        return f"{value * self.factor:.{self.digits}f}"


def percent(key: str, title: str) -> Column:
    """An average precision, 0..1, shown in percent."""
    return Column(key, title, 1, 100.0, "high")


MEASURED: Final = (
    Column("name", "detector", None),
    percent("AP", "AP %"),
    percent("AP50", "AP50 %"),
    percent("AP75", "AP75 %"),
    percent("APs", "APs %"),
    percent("APm", "APm %"),
    percent("APl", "APl %"),
    percent("APr", "APr %"),
    percent("APc", "APc %"),
    percent("APf", "APf %"),
    percent("mask_AP", "mask AP %"),
    percent("mask_AP50", "mask AP50 %"),
    percent("voc07_AP50", "VOC07 %"),
    percent("voc10_AP50", "VOC10 %"),
    Column("threads", "threads", 0),
    Column("latency_p50_ms", "p50 ms", 1, 1.0, "low"),
    Column("latency_p95_ms", "p95 ms", 1, 1.0, "low"),
    Column("latency_p99_ms", "p99 ms", 1, 1.0, "low"),
    Column("latency_spread", "± %", 1, 100.0),
    Column("images_per_s", "img/s", 1, 1.0, "high"),
    Column("best_images_per_s", "img/s", 1, 1.0, "high"),
    Column("best_batch", "at batch", 0),
    Column("proposals_p50_ms", "proposals ms", 1),
    Column("without_proposals_p50_ms", "ms without", 1),
    Column("pre_p50_ms", "pre ms", 1),
    Column("forward_p50_ms", "forward ms", 1),
    Column("post_p50_ms", "post ms", 1),
    Column("params_m", "params M", 2),
    Column("gflops", "GFLOPs", 2),
    Column("peak_memory_mib", "memory MiB", 0),
    Column("weights_mib", "weights MiB", 1),
    Column("zipped_mib", "zip MiB", 1),
    Column("joules_per_image", "J/image", 2),
)
"""Columns of what was measured here; those that no row has are left out."""
PER_CLASS: Final = (Column("class", "class", None), percent("AP", "AP %"), percent("AP50", "AP50 %"),
                    percent("voc07_AP50", "VOC07 %"), percent("voc10_AP50", "VOC10 %"),
                    Column("ground_truths", "boxes", 0), Column("detections", "detections", 0))  # fmt: skip
"""Columns of one detector's classes."""


@dataclass(frozen=True)
class Table:
    """Rows, how to show them, and what must be known to read them.

    Args:
        title: above the table.
        columns: in order.
        rows: key -> value; a missing key is an empty cell.
        notes: below the table: the protocol, and where reported numbers come from.
        marks: for each row column key -> letter of the note that says under which other protocol the cell was
            measured; cells with a mark are never the best of their column.
        absent: for each row column key -> why the cell has no value.
        counts: column key -> objects that stand behind its numbers; where they are few, none is the best.
        remarks: for each row column key -> what has to be known of the cell.
        leading: column key -> rows that are marked in place of the best: they cannot be told from it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = field(default=())
    marks: Sequence[Mapping[str, str]] = field(default=())
    absent: Sequence[Mapping[str, str]] = field(default=())
    counts: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[Mapping[str, str]] = field(default=())
    leading: Mapping[str, Collection[int]] = field(default_factory=dict)

    @property
    def filled(self) -> list[Column]:
        """Columns that at least one row has a value for, and those that are always shown."""
        known = [any(c.text(row.get(c.key)) != MISSING for row in self.rows) for c in self.columns]
        return [c for c, some in zip(self.columns, known, strict=True) if some or (c.always and self.rows)]

    @property
    def shown(self) -> list[Column]:
        """Those of them that people see."""
        return [c for c in self.filled if not c.only_in_files]

    def heading(self, column: Column) -> str:
        """A column's title, with the number of objects behind it."""
        return f"{column.title} (n={self.counts[column.key]})" if column.key in self.counts else column.title

    def remark(self, row: int, column: Column) -> str:
        """What has to be known of a cell, or nothing."""
        return self.remarks[row].get(column.key, "") if self.remarks else ""

    def cells(self) -> list[list[str]]:
        """Text of each row, with its marks."""
        return [
            [self.text(n, c) + self.mark(n, c).translate(_RAISED) for c in self.shown] for n in range(len(self.rows))
        ]

    def text(self, row: int, column: Column) -> str:
        """A cell without its mark."""
        text = column.text(self.rows[row].get(column.key))
        return self.absent[row].get(column.key, text) if text == MISSING and self.absent else text

    def mark(self, row: int, column: Column) -> str:
        """Letter of the protocol that a cell's number has to itself, or nothing."""
        known = column.text(self.rows[row].get(column.key)) != MISSING
        return self.marks[row].get(column.key, "") if known and self.marks else ""

    def best_rows(self, column: Column) -> set[int]:
        """Rows with the best value of a column, where there are at least two different ones of the same protocol.

        None where few objects stand behind the column. Where ``leading`` knows more, its rows.
        """
        if column.key in self.leading:
            return set(self.leading[column.key])
        values = {
            n: row[column.key]
            for n, row in enumerate(self.rows)
            if isinstance(row.get(column.key), int | float)
            and math.isfinite(row[column.key])
            and not self.mark(n, column)
        }
        if column.best is None or len(set(values.values())) < 2 or self.counts.get(column.key, FEW) < FEW:
            return set()
        best = max(values.values()) if column.best == "high" else min(values.values())
        return {n for n, value in values.items() if value == best}

    def markdown(self) -> str:
        """A GitHub table: numbers to the right, the best of a column in bold."""
        columns, cells = self.shown, self.cells()
        for place, column in enumerate(columns):
            for row in self.best_rows(column):
                cells[row][place] = f"**{cells[row][place]}**"
        lines = [
            [markdown_text(self.heading(c)) for c in columns],
            ["---" if c.digits is None else "---:" for c in columns],
        ]
        lines += [[markdown_text(cell) for cell in row] for row in cells]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        notes = "".join(f"\n- {markdown_text(note)}" for note in self.notes)
        return f"### {markdown_text(self.title)}\n\n{body}\n" + (f"{notes}\n" if notes else "")

    def csv(self) -> str:
        """Raw values under their keys; notes are not part of it."""
        rows = ([raw(row.get(c.key)) for c in self.filled] for row in self.rows)
        return csv_text([[c.key for c in self.filled], *rows])

    def json(self) -> str:
        """Raw values, with the notes."""
        rows = [{c.key: raw(row.get(c.key)) for c in self.filled} for row in self.rows]
        return json.dumps({"title": self.title, "rows": rows, "notes": list(self.notes)}, indent=1) + "\n"

    def terminal(self, width: int | None = None) -> str:
        """For a terminal of ``width`` columns: wide tables are continued below, with the first column repeated."""
        columns, cells = self.shown, self.cells()
        titles = [self.heading(c) for c in columns]
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        blocks = []
        for places in folded(widths, width):
            lines = [
                "  ".join(
                    line[p].ljust(widths[p]) if columns[p].digits is None else line[p].rjust(widths[p]) for p in places
                ).rstrip()
                for line in [titles, *cells]
            ]
            lines.insert(1, "-" * max(map(len, lines)))
            blocks.append("\n".join(lines))
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([self.title, "", "\n\n".join(blocks), *notes])


def folded(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Column numbers of each block, so that no block is wider than ``width``."""
    if not widths:
        return []
    blocks, used = [[0]], widths[0]
    for place in range(1, len(widths)):
        if width is not None and used + 2 + widths[place] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(place)
        used += 2 + widths[place]
    return blocks


def raw(value: Any) -> Any:
    """A value for files: no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def reported_columns(reported: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[list[Column], list[dict[str, Any]]]:
    """Columns and cells for what recipes report: one column for each dataset and metric.

    Args:
        reported: for each row the recipe's ``reported`` entries.

    Returns:
        columns, and for each row the cells to add.
    """
    keys: dict[str, Column] = {}
    cells: list[dict[str, Any]] = []
    for entries in reported:
        row: dict[str, Any] = {}
        for entry in entries:
            title = f"reported: {entry['metric']}, {entry['dataset']}"
            keys.setdefault(title, Column(title, title, None))
            mark = "" if entry.get("verified", True) else " (unverified)"
            row[title] = f"{entry['value']:g}{mark}"
        cells.append(row)
    return list(keys.values()), cells


def reported_notes(names: Sequence[str], reported: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """Protocol and source of every reported number."""
    return [
        f"reported, not measured here: {name}, {entry['metric']} on {entry['dataset']}: {entry['value']:g} "
        f"({entry['protocol']}; {entry['source']})"
        for name, entries in zip(names, reported, strict=True)
        for entry in entries
    ]


def protocol_note(benchmark_protocol: Mapping[str, Any]) -> str:
    """One line that says how times were measured."""
    p = benchmark_protocol
    device = p["device"]
    switches = [name for name in ("compile", "channels_last", "fold") if p.get(name)]
    sizes = ", ".join(p["image_sizes"][:3]) + (" ..." if len(p["image_sizes"]) > 3 else "")
    threads = f", {device['threads']} threads" if "threads" in device else ""
    # a foreign detector chooses its own precision, and says what runs it
    precision = "" if p["precision"] is None else f", {p['precision']}"
    program = p.get("program", {}).get("runtime") or f"torch {p['versions'].get('torch', '?')}"
    return (
        f"times: batch {p['batch']}{precision}{''.join(', ' + s for s in switches)}, {p['rounds']} rounds after "
        f"{p['warmup']} warm-up, images {sizes}; {p['timed']}; {device['name']}{threads}; {program}"
    )
