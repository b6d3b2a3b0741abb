"""What a comparison leaves behind: table.md, table.csv, table.json, speed_ap.png, index.html."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from detzoo.errors import DataError
from detzoo.evaluation.results import write_whole
from detzoo.report.page import Example, Page
from detzoo.report.table import MEASURED, Table, protocol_note, reported_columns, reported_notes
from detzoo.types import Detections

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.report.comparison import Entry, Plan

MIN_SCORE = 0.3
"""Of detections that are drawn on the page."""


def comparison_table(dataset: Dataset, entries: Sequence[Entry]) -> Table:
    """Measured columns, then reported ones; the protocol below."""
    columns, cells = reported_columns([entry.reported for entry in entries])
    rows = [
        {"name": entry.name, **entry.results["metrics"], **entry.benchmark["row"], **cell}
        for entry, cell in zip(entries, cells, strict=True)
    ]
    counts = entries[0].results["counts"]
    notes = [
        f"accuracy: {dataset.name} {dataset.split}, {counts['images']} images, {counts['annotations']} boxes, "
        f"pycocotools' protocol; VOC at IoU 0.5; difficult and crowd boxes ignored"
    ]
    notes += dict.fromkeys(protocol_note(entry.benchmark["protocol"]) for entry in entries)
    notes += reported_notes([entry.name for entry in entries], [entry.reported for entry in entries])
    notes += [f"{entry.name}: {warning}" for entry in entries for warning in entry.results["warnings"]]
    return Table(f"{dataset.name} {dataset.split}", [*MEASURED, *columns], rows, notes)


def write_files(plan: Plan, dataset: Dataset, entries: Sequence[Entry], table: Table) -> list[Path]:
    """Write everything; returns the paths, the page first."""
    from detzoo.report.comparison import curve_of
    from detzoo.report.plots import save, speed_ap_figure

    page = Page(
        title=f"{dataset.name} {dataset.split}: {len(entries)} detectors compared",
        table=table,
        classes={entry.name: ap_by_class(entry) for entry in entries},
        curves={entry.name: curve_of(entry.run) for entry in entries},
        examples=examples(plan, dataset, entries),
        footer=footer(entries[0]),
    )
    out = plan.out
    write_whole(out / "index.html", page.html())
    write_whole(out / "table.md", table.markdown())
    write_whole(out / "table.csv", table.csv())
    write_whole(out / "table.json", table.json())
    save(speed_ap_figure(table.rows), out / "speed_ap.png")
    return [out / name for name in ("index.html", "table.md", "table.csv", "table.json", "speed_ap.png")]


def ap_by_class(entry: Entry) -> dict[str, float | None]:
    """AP of each class."""
    return {name: values["AP"] for name, values in entry.results["per_class"].items()}


def footer(entry: Entry) -> str:
    """When and with what."""
    versions = entry.results["versions"]
    shown = ", ".join(f"{name} {versions[name]}" for name in ("detzoo", "torch", "torchvision") if name in versions)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return f"Made by detzoo compare on {today}; {shown}; {entry.results['device']['name']}."


def examples(plan: Plan, dataset: Dataset, entries: Sequence[Entry]) -> list[Example]:
    """The first pictures with objects, as the ground truth and as every detector has them."""
    from detzoo.report.drawing import draw_detections, draw_sample

    found = {entry.name: rows_by_image(entry) for entry in entries}
    image_ids = dataset.image_ids
    shown: list[Example] = []
    for position in range(len(dataset)):
        if len(shown) == plan.examples:
            break
        try:
            sample = dataset.sample(position, masks=False)
        except DataError:
            continue
        if not len(sample.boxes):
            continue
        pictures = {"ground truth": draw_sample(sample, dataset.classes)}
        size = (sample.image.shape[0], sample.image.shape[1])
        for name, rows in found.items():
            detections = as_detections(rows.get(image_ids[position], []), dataset, size)
            pictures[f"{name} ({len(detections)} above {MIN_SCORE:g})"] = draw_detections(sample.image, detections)
        shown.append(Example(Path(sample.path).name, pictures))
    return shown


def rows_by_image(entry: Entry) -> dict[Any, list[dict[str, Any]]]:
    """An entry's detections that are worth drawing."""
    rows: dict[Any, list[dict[str, Any]]] = {}
    for row in json.loads((entry.folder / "detections.json").read_text(encoding="utf-8")):
        if row["score"] >= MIN_SCORE:
            rows.setdefault(row["image_id"], []).append(row)
    return rows


def as_detections(rows: Sequence[dict[str, Any]], dataset: Dataset, size: tuple[int, int]) -> Detections:
    """COCO result rows of one image as Detections."""
    labels = {category: label for label, category in enumerate(dataset.category_ids)}
    rows = sorted(rows, key=lambda row: -row["score"])
    xywh = torch.tensor([row["bbox"] for row in rows], dtype=torch.float32).reshape(-1, 4)
    return Detections(
        boxes=torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float32),
        labels=torch.tensor([labels[row["category_id"]] for row in rows], dtype=torch.int64),
        classes=dataset.classes,
        size=size,
    )
