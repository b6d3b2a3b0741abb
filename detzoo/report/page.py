"""One self-contained HTML page of a comparison: it requests nothing; without JavaScript only sorting is missing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.report import svg
from detzoo.report.svg import esc
from detzoo.report.table import MISSING, Table, raw

PICTURE_WIDTH: Final = 480
"""Pictures are made no wider, in px, to keep the page small enough to be mailed."""


@dataclass(frozen=True)
class Example:
    """One picture as every detector sees it.

    Args:
        title: below nothing, above the row.
        pictures: caption -> uint8 [H,W,3] RGB with boxes drawn; the ground truth comes first.
    """

    title: str
    pictures: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Page:
    """What a comparison has to show.

    Args:
        title: of the page.
        table: measured numbers, then reported ones.
        classes: detector -> class -> AP, 0..1 or None.
        curves: detector -> (epoch, AP 0..1) points; empty where nothing was trained here.
        examples: pictures.
        metric: of the scatter plot and the bars.
        footer: versions and date.
    """

    title: str
    table: Table
    classes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    metric: str = "AP"
    footer: str = ""

    def html(self) -> str:
        """The whole page."""
        here = files("detzoo.report")
        template = Template(here.joinpath("page.html").read_text(encoding="utf-8"))
        return template.substitute(
            title=esc(self.title),
            body="\n".join(part for part in self._sections() if part),
            footer=esc(self.footer),
            script=here.joinpath("page.js").read_text(encoding="utf-8"),
        )

    def _sections(self) -> list[str]:
        names = [str(row["name"]) for row in self.table.rows]
        return [
            f'<div class="scroll">{table_html(self.table)}</div>',
            notes_html(self.table.notes),
            section("Speed and accuracy", self._scatter()),
            section("AP of each class", svg.legend(names) + self._bars(names) if self.classes else ""),
            section("Learning curves", self._curves(names)),
            *(section(example.title, pictures_html(example)) for example in self.examples),
        ]

    def _scatter(self) -> str:
        points = [
            (str(row["name"]), float(row["latency_p50_ms"]), 100 * float(row[self.metric]))
            for row in self.table.rows
            if raw(row.get("latency_p50_ms")) and raw(row.get(self.metric)) is not None
        ]
        return svg.scatter(points, ("median time of a batch, ms (log)", f"{self.metric} %"))

    def _bars(self, names: Sequence[str]) -> str:
        classes = dict.fromkeys(c for of_one in self.classes.values() for c in of_one)
        groups = {c: [percent(self.classes.get(name, {}).get(c)) for name in names] for c in classes}
        return svg.bars(groups, names)

    def _curves(self, names: Sequence[str]) -> str:
        series = {name: [(x, 100 * y) for x, y in self.curves.get(name, ())] for name in names}
        if not any(series.values()):
            return ""
        return svg.legend(names) + svg.lines(series, ("epoch", f"{self.metric} %"))


def percent(value: float | None) -> float | None:
    """0..1 -> percent; no value stays none."""
    known = raw(value)
    return None if known is None else 100 * float(known)


def section(title: str, body: str) -> str:
    """A heading and what stands under it; nothing for nothing."""
    return f"<section><h2>{esc(title)}</h2>{body}</section>" if body else ""


def table_html(table: Table) -> str:
    """A table whose headings sort it."""
    head = "".join(f'<th scope="col"><button type="button">{esc(c.title)}</button></th>' for c in table.shown)
    best = {place: table.best_rows(column) for place, column in enumerate(table.shown)}
    rows = []
    for n, (row, cells) in enumerate(zip(table.rows, table.cells(), strict=True)):
        line = "".join(
            cell_html(cell, row.get(column.key), best=n in best[place])
            for place, (cell, column) in enumerate(zip(cells, table.shown, strict=True))
        )
        rows.append(f"<tr>{line}</tr>")
    return f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def cell_html(text: str, value: Any, *, best: bool) -> str:
    """A cell; its value, unrounded, is what sorting looks at."""
    known = "" if text == MISSING else f' data-value="{esc(value)}"'
    marked = ' class="best"' if best else ""
    return f"<td{known}{marked}>{esc(text)}</td>"


def notes_html(notes: Sequence[str]) -> str:
    """The protocol, below the table."""
    return f'<ul class="notes">{"".join(f"<li>{esc(note)}</li>" for note in notes)}</ul>' if notes else ""


def pictures_html(example: Example) -> str:
    """Pictures side by side."""
    figures = (
        f'<figure><img alt="{esc(caption)}" src="{data_url(picture)}"><figcaption>{esc(caption)}</figcaption></figure>'
        for caption, picture in example.pictures.items()
    )
    return f'<div class="pictures">{"".join(figures)}</div>'


def data_url(picture: NDArray[np.uint8]) -> str:
    """A JPEG inside a URL, at most PICTURE_WIDTH wide."""
    height, width = picture.shape[:2]
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
