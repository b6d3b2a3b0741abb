"""One self-contained HTML page of a comparison: it requests nothing; without JavaScript the drawings are missing."""

from __future__ import annotations

import base64
import functools
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final

from detzoo.comparison.ranking_html import ranking_html
from detzoo.comparison.table_html import esc, notes_html, protocols_html, table_html
from detzoo.comparison.wall_html import ENLARGED, wall_html

if TYPE_CHECKING:
    from detzoo.comparison.image_grid import WallImage
    from detzoo.comparison.ranking import RankedRows
    from detzoo.runtime.text_table import Table

CLASS: Final = "class"
"""The menu that also filters the image wall."""
SCRIPTS: Final = ("table.js", "wall.js", "drawings.js")
FIRST_COLUMNS: Final = (
    *("name", "AP", "ties", "latency_p50_ms", "AP_interval", "AP50", "best_images_per_s", "params_m", "epochs"),
    *("train_minutes", "onnx", "APs", "APm", "APl", "AP75", "gflops", "input"),
)
"""Columns of the table in the order in which they are worth their place where not all of them fit."""
SEED_COLUMNS: Final = ("name", "AP", "ties", "AP_interval", "spread", "seeds", "p_best")
"""The same of the table over seeds."""


@dataclass(frozen=True)
class Menu:
    """A choice that drawings follow.

    Args:
        name: of the menu.
        label: text next to it.
        options: in order; the first is chosen at the start.
        shown: option -> what stands for it in the menu, where that is not the option itself.
    """

    name: str
    label: str
    options: Sequence[str]
    shown: Mapping[str, str] = field(default_factory=dict)


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
        verdict: what to take, in words.
        ranking: the rows that can be ranked.
        command: that made it, to be typed again; empty where Python did.
        seeds: one row per recipe that was trained with several seeds.
        protocols: one row per detector.
        sections: drawings; the first stands above the table.
        wall: images, the worst first.
        wall_note: how to read them.
        footer: versions and date.
    """

    title: str
    table: Table
    verdict: str = ""
    ranking: RankedRows | None = None
    command: str = ""
    seeds: Table | None = None
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
            script="\n".join(here.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS),
        )

    def _parts(self) -> list[str]:
        wall = f'<p class="note">{esc(self.wall_note)}</p>{wall_html(self.wall)}{ENLARGED}' if self.wall else ""
        seeds = "" if self.seeds is None else table_html(self.seeds, SEED_COLUMNS) + notes_html(self.seeds.notes)
        return [
            f'<p class="verdict">{esc(self.verdict)}</p>' if self.verdict else "",
            section("Ranking", "" if self.ranking is None else ranking_html(self.ranking)),
            section("Over seeds", seeds),
            *(section_html(section) for section in self.sections[:1]),
            section("All numbers", table_html(self.table, FIRST_COLUMNS) + notes_html(self.table.notes)),
            protocols_html(self.protocols),
            *(section_html(section) for section in self.sections[1:]),
            section("The same images under each detector, the worst first", wall),
            section("The command", f"<pre><code>{esc(self.command)}</code></pre>" if self.command else ""),
        ]


@functools.cache
def packed_library() -> str:
    """plotly.js, compressed: the page unpacks it, so that it is two megabytes long instead of five."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode("ascii")


def json_for_script(value: Any) -> str:
    """JSON that cannot end the script element that it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


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
    options = "".join(
        f'<option value="{esc(option)}">{esc(menu.shown.get(option, option))}</option>' for option in menu.options
    )
    return f'<label>{esc(menu.label)} <select data-menu="{esc(menu.name)}">{options}</select></label>'


def plot_html(plot: Plot) -> str:
    """Where a drawing will be."""
    return (
        f'<div class="plot" id="{esc(plot.name)}" data-menus="{esc(" ".join(plot.menus))}" role="img" '
        f'aria-label="{esc(plot.label)}"></div>'
    )
