"""A table of the page: sorted by its headings, its columns to be chosen."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from detzoo.runtime.text_table import MISSING

if TYPE_CHECKING:
    from detzoo.runtime.text_table import Column, Table


def esc(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text))


def protocols_html(table: Table | None) -> str:
    """The table of protocols, folded away."""
    if table is None:
        return ""
    return (
        f'<details class="protocols"><summary>{esc(table.title)}</summary>'
        f"{table_html(table, [column.key for column in table.shown])}</details>"
    )


def table_html(table: Table, first: Sequence[str]) -> str:
    """A table whose headings sort it, and whose columns can be chosen.

    Args:
        table: shown.
        first: keys of columns, the most important first: as many as fit are shown at the start, and after them the
            others, if they fit too. The first column is always shown.
    """
    head = "".join(heading_html(table, column) for column in table.shown)
    best = [table.best_rows(column) for column in table.shown]
    rows = []
    for n in range(len(table.rows)):
        line = "".join(
            cell_html(table, n, column, best=n in of_column)
            for column, of_column in zip(table.shown, best, strict=True)
        )
        rows.append(f"<tr>{line}</tr>")
    order = {key: place for place, key in enumerate(first)}
    ranked = sorted((c.key for c in table.shown), key=lambda key: order.get(key, len(order)))  # stable: then in order
    return (
        f'<div class="table">{choices_html(table)}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(table.title)}">'
        f'<table class="sortable" data-order="{esc(json.dumps(ranked))}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></div>"
    )


def heading_html(table: Table, column: Column) -> str:
    """A heading that sorts; below it how many objects stand behind its numbers."""
    count = table.counts.get(column.key)
    objects = "" if count is None else f"<small>n={count}</small>"
    return (
        f'<th scope="col" data-key="{esc(column.key)}" class="{"text" if column.digits is None else "number"}">'
        f'<button type="button">{esc(column.title)}{objects}</button></th>'
    )


def choices_html(table: Table) -> str:
    """Which columns are shown; useless without JavaScript, which therefore unhides it."""
    boxes = "".join(
        f'<label><input type="checkbox" value="{esc(column.key)}" checked> {esc(column.title)}</label>'
        for column in table.shown[1:]
    )
    return (
        '<details class="columns" hidden><summary>Columns <output></output></summary>'
        f'<div class="choices">{boxes}</div><div class="menus"><button type="button" data-columns="all">all</button>'
        '<button type="button" data-columns="fit">as many as fit</button></div></details>'
    )


def cell_html(table: Table, row: int, column: Column, *, best: bool) -> str:
    """A cell; its value, unrounded, is what sorting looks at; its mark says that the protocol is another one."""
    value, text, mark = table.rows[row].get(column.key), table.text(row, column), table.mark(row, column)
    known = "" if column.text(value) == MISSING else f' data-value="{esc(value)}"'
    kinds = ["text" if column.digits is None else "number", *["best"] * best, *["absent"] * (not known)]
    remark = table.remark(row, column)
    title = f' title="{esc(remark)}"' if remark else ""
    raised = f'<sup title="{esc(explained(table, mark))}">{esc(mark)}</sup>' if mark else ""
    return f'<td{known}{title} class="{" ".join(kinds)}">{breakable(text)}{raised}</td>'


def breakable(text: str) -> str:
    """Long names may go on in the next line after an underscore rather than anywhere."""
    return esc(text).replace("_", "_<wbr>")


def explained(table: Table, mark: str) -> str:
    """The note of a mark."""
    return next((note for note in table.notes if note.startswith(f"{mark}: ")), mark)


def notes_html(notes: Sequence[str]) -> str:
    """The protocol, below the table."""
    return f'<ul class="notes">{"".join(f"<li>{esc(note)}</li>" for note in notes)}</ul>' if notes else ""
