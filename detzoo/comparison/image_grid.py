"""The image grid: the same images under each detector next to the ground truth, the worst first.

An image is embedded once; its boxes are drawn over it as SVG, so that they stay sharp, can be pointed at, and can be
filtered by class.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.comparison.analysis import DRAWN_FROM, class_names
from detzoo.errors import DataError
from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.tide import IGNORED, TRUE, Judged, by_image, judge
from detzoo.ops.mask_encoding import decode_counts
from detzoo.runtime.drawing import encode_image

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.data import Dataset

IMAGE_WIDTH: Final = 480
"""Images are made no wider, in px, to keep the page small enough to be mailed."""
MOST_LABELS: Final = 12
"""Boxes of an image up to which their names are written next to them; all show them on mouse-over."""


@dataclass(frozen=True)
class Box:
    """One box of an image.

    Args:
        xywh: px of the original image.
        kind: ``truth``, ``hard``, ``true``, ``false`` or ``missed``: decides how it is drawn.
        name: of its class.
        words: what it says when it is pointed at.
        outline: of its mask, as an SVG path; empty where there is none.
    """

    xywh: Sequence[float]
    kind: str
    name: str
    words: str
    outline: str = ""


@dataclass(frozen=True)
class WallImage:
    """One image, as the ground truth and as every detector has it.

    Args:
        title: name of its file.
        pixels: uint8 [H,W,3] RGB.
        boxes: caption -> boxes; the ground truth comes first.
        score: mean F1 of the detectors on it, 0..1.
    """

    title: str
    pixels: NDArray[np.uint8]
    boxes: Mapping[str, Sequence[Box]]
    score: float


def image_wall(entries: Sequence[ComparisonEntry], dataset: Dataset, most: int) -> list[WallImage]:
    """The images on which the detectors together do worst; none where no detections are known.

    Args:
        entries: those without detections are left out.
        dataset: that they were found in.
        most: number of images.
    """
    found = {e.name: strong(e.detections) for e in entries if e.detections is not None}
    if not found or most < 1:
        return []
    truth = dataset.coco_ground_truth()
    names = class_names(truth)
    annotations = by_image(truth["annotations"])
    position = {image: n for n, image in enumerate(dataset.image_ids)}
    judged = {
        image: {
            name: judge(known(rows.get(image, ()), names), annotations.get(image, ())) for name, rows in found.items()
        }
        for image in position
    }
    score = {image: float(np.mean([f1(one) for one in of_image.values()])) for image, of_image in judged.items()}
    shown: list[WallImage] = []
    for image in sorted(position, key=lambda image: (score[image], position[image])):
        if len(shown) == most:
            break
        try:
            sample = dataset.sample(position[image], masks=False)
        except DataError:
            continue
        boxes = {"ground truth": [truth_box(a, names) for a in annotations.get(image, ())]}
        for name, one in judged[image].items():
            boxes[f"{name}: F1 {f1(one):.2f}"] = detector_boxes(one, names)
        shown.append(WallImage(Path(sample.path).name, sample.image, boxes, score[image]))
    return shown


def strong(path: Path) -> dict[Any, list[Mapping[str, Any]]]:
    """Detections that are worth drawing, by image."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return by_image([row for row in rows if row["score"] >= DRAWN_FROM])


def known(rows: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> list[Mapping[str, Any]]:
    """Without those of classes that the dataset does not have."""
    return [row for row in rows if int(row["category_id"]) in names]


def f1(judged: Judged) -> float:
    """Harmonic mean of precision and recall on one image; 1 where there is nothing to find and nothing was found."""
    true = sum(judged.found)
    false = sum(v.kind not in (TRUE, IGNORED) for v in judged.verdicts)
    lost = len(judged.truth) - true
    return 2 * true / (2 * true + false + lost) if true + false + lost else 1.0


def truth_box(annotation: Mapping[str, Any], names: Mapping[int, str]) -> Box:
    """Of an annotation; difficult and crowd boxes say so."""
    hard = [flag for flag, key in (("difficult", "ignore"), ("crowd", "iscrowd")) if is_flagged(annotation, key)]
    name = names[int(annotation["category_id"])]
    return Box(
        annotation["bbox"],
        "hard" if hard else "truth",
        name,
        ", ".join([name, *hard]),
        outline(annotation.get("segmentation")),
    )


def detector_boxes(judged: Judged, names: Mapping[int, str]) -> list[Box]:
    """What a detector found, right and wrong, and what it did not find."""
    boxes = []
    for annotation, found in zip(judged.truth, judged.found, strict=True):
        if not found:
            name = names[int(annotation["category_id"])]
            boxes.append(Box(annotation["bbox"], "missed", name, f"{name}: not found"))
    for verdict in reversed(judged.verdicts):  # the best on top
        name = names[int(verdict.row["category_id"])]
        kind = {TRUE: "true", IGNORED: "hard"}.get(verdict.kind, "false")
        what = {TRUE: "", IGNORED: ", on a box that does not count"}.get(verdict.kind, f", {verdict.kind} error")
        words = f"{name} {verdict.row['score']:.2f}{what}"
        boxes.append(Box(verdict.row["bbox"], kind, name, words, outline(verdict.row.get("segmentation"))))
    return boxes


def outline(segmentation: Any) -> str:
    """SVG path around a mask of compressed run lengths; nothing for anything else."""
    if not isinstance(segmentation, Mapping) or not isinstance(segmentation.get("counts"), str):
        return ""
    height, width = segmentation["size"]
    mask = decode_counts(segmentation["counts"].encode(), (int(height), int(width)))
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # Half a pixel is not seen at the size of the wall, and leaves a fifth of the points.
    rings = [cv2.approxPolyDP(contour, 0.5, closed=True)[:, 0] + 0.5 for contour in contours]
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in ring) + "Z" for ring in rings)


def wall_html(images: Sequence[WallImage]) -> str:
    """All images, with the key to their boxes."""
    key = (("truth", "ground truth"), ("true", "found"), ("false", "false"), ("missed", "not found"))
    items = "".join(f'<li><span class="key {kind}"></span>{words}</li>' for kind, words in key)
    rows = "".join(image_html(image, number) for number, image in enumerate(images))
    return f'<ul class="legend">{items}</ul>{rows}'


def image_html(image: WallImage, number: int) -> str:
    """One image: embedded in the first figure, referred to by the others."""
    height, width = image.pixels.shape[:2]
    classes = sorted({box.name for boxes in image.boxes.values() for box in boxes})
    photo = f'<image id="photo{number}" href="{data_url(image.pixels)}" width="{width}" height="{height}"/>'
    figures = []
    for place, (caption, boxes) in enumerate(image.boxes.items()):
        below = photo if place == 0 else f'<use href="#photo{number}"/>'
        drawn = "".join(box_svg(box, width, label=len(boxes) <= MOST_LABELS) for box in boxes)
        words = html.escape(caption)
        figures.append(
            f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{words}">'
            f"{below}{drawn}</svg><figcaption>{words}</figcaption></figure>"
        )
    listed = html.escape(json.dumps(classes))
    return (
        f'<article class="wall" data-classes="{listed}"><h3>{html.escape(image.title)}'
        f"<small> mean F1 {image.score:.2f}</small></h3>"
        f'<div class="images">{"".join(figures)}</div></article>'
    )


def box_svg(box: Box, width: int, *, label: bool) -> str:
    """A rectangle with a tooltip, and its class next to it where there is room."""
    x, y, w, h = (f"{float(v):.1f}" for v in box.xywh)
    unit = width / 400
    name = html.escape(box.name)
    at = f'x="{x}" y="{float(y) - 3 * unit:.1f}" font-size="{20 * unit:.1f}" stroke-width="{3 * unit:.1f}"'
    text = f"<text {at}>{name}</text>" if label and box.kind != "missed" else ""
    mask = f'<path d="{box.outline}"/>' if box.outline else ""
    return (
        f'<g class="box {box.kind}" data-class="{name}">{mask}<rect x="{x}" y="{y}" width="{w}" height="{h}">'
        f"<title>{html.escape(box.words)}</title></rect>{text}</g>"
    )


def data_url(image: NDArray[np.uint8]) -> str:
    """A JPEG inside a URL, at most IMAGE_WIDTH wide."""
    height, width = image.shape[:2]
    if width > IMAGE_WIDTH:
        size = (IMAGE_WIDTH, max(1, round(height * IMAGE_WIDTH / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return "data:image/jpeg;base64," + base64.b64encode(encode_image(image, ".jpg", quality=80)).decode("ascii")
