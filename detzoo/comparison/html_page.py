"""One self-contained HTML page of a comparison: it requests nothing; without JavaScript the drawings are missing."""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any, Final

from detzoo.comparison.image_grid import WallImage, wall_html
from detzoo.runtime.text_table import MISSING, Column, Table

CLASS: Final = "class"
"""The menu that also filters the image wall."""


@dataclass(frozen=True)
class Menu:
    """A choice that drawings follow.

    Args:
        name: of the menu.
        label: text next to it.
        options: in order; the first is chosen at the start.
    """

    name: str
    label: str
    options: Sequence[str]


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Args:
        name: of the element.
        label: for those who cannot see it.
        variants: the options of its menus, joined by ``|`` -> Plotly figure.
        menus: names of the menus that choose, in order.
    """

    name: str
    label: str
    variants: Mapping[str, Any]
    menus: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    Args:
        title: heading.
        plots: drawings; those without variants are left out, and the section with the last.
        menus: above the drawings.
        note: below the heading.
    """

    title: str
    plots: Sequence[Plot]
    menus: Sequence[Menu] = ()
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What a comparison has to show.

    Args:
        title: of the page.
        table: measured numbers, then reported ones.
        protocols: one row per detector.
        sections: drawings.
        wall: images, the worst first.
        wall_note: how to read them.
        footer: versions and date.
    """

    title: str
    table: Table
    protocols: Table | None = None
    sections: Sequence[Section] = ()
    wall: Sequence[WallImage] = ()
    wall_note: str = ""
    footer: str = ""

    def html(self) -> str:
        """The whole page."""
        here = files("detzoo.comparison")
        template = Template(here.joinpath("page.html").read_text(encoding="utf-8"))
        plots = {plot.name: plot.variants for section in self.sections for plot in section.plots if plot.variants}
        return template.substitute(
            title=esc(self.title),
            style=here.joinpath("page.css").read_text(encoding="utf-8"),
            body="\n".join(part for part in self._parts() if part),
            footer=esc(self.footer),
            figures=json_for_script(plots),
            plotly=packed_library() if plots else "",
            script=here.joinpath("page.js").read_text(encoding="utf-8"),
        )

    def _parts(self) -> list[str]:
        wall = f'<p class="note">{esc(self.wall_note)}</p>{wall_html(self.wall)}' if self.wall else ""
        return [
            f'<div class="scroll">{table_html(self.table)}</div>',
            notes_html(self.table.notes),
            protocols_html(self.protocols),
            *(section_html(section) for section in self.sections),
            section("The same images under each detector, the worst first", wall),
        ]


@functools.cache
def packed_library() -> str:
    """plotly.js, compressed: the page unpacks it, so that it is two megabytes long instead of five."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode("ascii")


def json_for_script(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def esc(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text))


def section(title: str, body: str) -> str:
    """A heading and what stands under it; nothing for nothing."""
    return f"<section><h2>{esc(title)}</h2>{body}</section>" if body else ""


def section_html(part: Section) -> str:
    """Menus and drawings."""
    drawn = [plot for plot in part.plots if plot.variants]
    if not drawn:
        return ""
    menus = "".join(menu_html(menu) for menu in part.menus if len(menu.options) > 1)
    note = f'<p class="note">{esc(part.note)}</p>' if part.note else ""
    return section(part.title, f'<div class="menus">{menus}</div>{note}' + "".join(map(plot_html, drawn)))


def menu_html(menu: Menu) -> str:
    """A choice."""
    options = "".join(f"<option>{esc(option)}</option>" for option in menu.options)
    return f'<label>{esc(menu.label)} <select data-menu="{esc(menu.name)}">{options}</select></label>'


def plot_html(plot: Plot) -> str:
    """Where a drawing will be."""
    return (
        f'<div class="plot" id="{esc(plot.name)}" data-menus="{esc(" ".join(plot.menus))}" role="img" '
        f'aria-label="{esc(plot.label)}"></div>'
    )


def protocols_html(table: Table | None) -> str:
    """The table of protocols, folded away."""
    if table is None:
        return ""
    return (
        f'<details class="protocols"><summary>{esc(table.title)}</summary>'
        f'<div class="scroll">{table_html(table)}</div></details>'
    )


def table_html(table: Table) -> str:
    """A table whose headings sort it."""
    head = "".join(
        f'<th scope="col" class="{"text" if c.digits is None else "number"}">'
        f'<button type="button">{esc(c.title)}</button></th>'
        for c in table.shown
    )
    best = [table.best_rows(column) for column in table.shown]
    rows = []
    for n in range(len(table.rows)):
        line = "".join(
            cell_html(table, n, column, best=n in of_column)
            for column, of_column in zip(table.shown, best, strict=True)
        )
        rows.append(f"<tr>{line}</tr>")
    return f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def cell_html(table: Table, row: int, column: Column, *, best: bool) -> str:
    """A cell; its value, unrounded, is what sorting looks at; its mark says that the protocol is another one."""
    value, text, mark = table.rows[row].get(column.key), table.text(row, column), table.mark(row, column)
    known = "" if column.text(value) == MISSING else f' data-value="{esc(value)}"'
    kinds = ["text" if column.digits is None else "number", *["best"] * best, *["absent"] * (not known)]
    raised = f'<sup title="{esc(explained(table, mark))}">{esc(mark)}</sup>' if mark else ""
    return f'<td{known} class="{" ".join(kinds)}">{esc(text)}{raised}</td>'


def explained(table: Table, mark: str) -> str:
    """The note of a mark."""
    return next((note for note in table.notes if note.startswith(f"{mark}: ")), mark)


def notes_html(notes: Sequence[str]) -> str:
    """The protocol, below the table."""
    return f'<ul class="notes">{"".join(f"<li>{esc(note)}</li>" for note in notes)}</ul>' if notes else ""
