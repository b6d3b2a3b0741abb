"""The doubted labels as one HTML page: a crop of the image with the label, and with what was found in its place."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from detzoo.errors import DataError
from detzoo.evaluation.voc_map import xyxy
from detzoo.runtime.drawing import GREY, OKABE_ITO, ImageArray, Mark, draw_marks
from detzoo.runtime.html_images import data_url

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.inspection.label_doubts import Doubt
    from detzoo.types import Sample

LABEL, FOUND = OKABE_ITO[:2]
"""Colours of a label and of a detection."""
SIDE: Final = 360
"""Px of a crop's longer side."""
_AROUND: Final = 0.6
"""Of the longer side of the boxes, shown on each side of them."""
_LEAST: Final = 32.0
"""Px shown on each side at least."""


def doubts_page(
    title: str, lines: Sequence[str], shown: Sequence[tuple[Mapping[str, Any], Doubt, Dataset]], rest: str = ""
) -> str:
    """The whole page, self-contained.

    Args:
        title: of the page.
        lines: below it: how well the detector does.
        shown: for each doubt its row of the table, the doubt, and the split that it is of.
        rest: below the images.
    """
    template = Template(files("detzoo.inspection").joinpath("labels.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        lines="".join(f"<p>{html.escape(line)}</p>" for line in lines),
        items="\n".join(_item(row, doubt, dataset) for row, doubt, dataset in shown),
        rest=html.escape(rest),
    )


def _item(row: Mapping[str, Any], doubt: Doubt, dataset: Dataset) -> str:
    label = "" if row["label"] is None else f"label: {row['label']}"
    found = "" if row["detected"] is None else f"found: {row['detected']} {row['score']:.2f}"
    overlap = "" if row["iou"] is None else f"IoU {row['iou']:.2f}"
    said = html.escape("; ".join(part for part in (label, found, overlap) if part))
    corners = " ".join(f"{row[name]:.0f}" for name in ("x1", "y1", "x2", "y2"))
    place = html.escape(f"{row['split']}, {row['image']}; box {corners} px")
    try:
        sample = dataset.sample(dataset.image_ids.index(doubt.image_id), masks=False)
        drawn = f'<img src="{data_url(crop(sample, row, doubt), widest=SIDE)}" alt="{said}">'
    except DataError as error:  # gone or damaged since it was looked at
        drawn = f"<p>{html.escape(str(error))}</p>"
    title = f"{html.escape(row['what'])}, {row['doubt']:.2f}"
    return f"<li>{drawn}<h2>{title}</h2><p>{said}</p><small>{place}</small></li>"


def crop(sample: Sample, row: Mapping[str, Any], doubt: Doubt) -> ImageArray:
    """The place of a doubt with its boxes, the other labels thin.

    Args:
        sample: the image and all its labels.
        row: names of the classes.
        doubt: about one of them, or about none.

    Returns:
        uint8 [H,W,3] RGB, SIDE px at its longer side.
    """
    boxes = [xyxy(one["bbox"]) for one in (doubt.annotation, doubt.detection) if one is not None]
    x1, y1, x2, y2 = window(boxes, (sample.image.shape[0], sample.image.shape[1]))
    part = sample.image[y1:y2, x1:x2]
    zoom = SIDE / max(part.shape[:2])
    how = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    size = (max(1, round(part.shape[1] * zoom)), max(1, round(part.shape[0] * zoom)))
    enlarged = np.asarray(cv2.resize(part, size, interpolation=how), np.uint8)

    def mark(box: Sequence[float], text: str = "", colour: tuple[int, int, int] = GREY, weight: float = 0.5) -> Mark:
        left, top, right, bottom = (float(v - o) * zoom for v, o in zip(box, (x1, y1, x1, y1), strict=True))
        return Mark((left, top, right, bottom), text, colour, weight=weight)

    own = None if doubt.annotation is None else xyxy(doubt.annotation["bbox"])
    marks = [mark(box) for box in sample.boxes.tolist() if own is None or not np.allclose(box, own, atol=1.0)]
    if doubt.annotation is not None:
        marks.append(mark(xyxy(doubt.annotation["bbox"]), str(row["label"]), LABEL, 2.0))
    if doubt.detection is not None:
        marks.append(mark(xyxy(doubt.detection["bbox"]), f"{row['detected']} {row['score']:.2f}", FOUND, 2.0))
    return draw_marks(enlarged, marks)


def window(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of an image of (height, width) to show, xyxy px: all boxes and something around them."""
    low, high = np.array([b[:2] for b in boxes]).min(axis=0), np.array([b[2:] for b in boxes]).max(axis=0)
    around = max(_LEAST, _AROUND * float((high - low).max()))
    limits = np.array([size[1], size[0]])
    first = np.clip(np.floor(low - around), 0, limits - 1).astype(int)
    last = np.clip(np.ceil(high + around), first + 1, limits).astype(int)
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])
