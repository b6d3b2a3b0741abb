"""The image grid: the same images under each detector next to the ground truth, the worst first.

An image is embedded once; its boxes are drawn over it as SVG, so that they stay sharp, can be pointed at, and can be
filtered by class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.comparison.analysis import DRAWN_FROM
from detzoo.data.formats.json_file import JSON_BYTES
from detzoo.errors import DataError
from detzoo.evaluation.annotation_flags import is_flagged
from detzoo.evaluation.classes import class_names
from detzoo.evaluation.federation import Federation
from detzoo.evaluation.judging import IGNORED, TRUE, Judged, by_image, judge_image
from detzoo.ops.mask_encoding import decode_counts
from detzoo.runtime.json_text import load_json

if TYPE_CHECKING:
    from detzoo.comparison.entry import ComparisonEntry
    from detzoo.data import Dataset


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
        boxes: ``ground truth``, then each detector -> boxes.
        score: mean F1 of the detectors on it, 0..1.
        f1: detector -> its F1 on it.
    """

    title: str
    pixels: NDArray[np.uint8]
    boxes: Mapping[str, Sequence[Box]]
    score: float
    f1: Mapping[str, float] = field(default_factory=dict)


def image_wall(entries: Sequence[ComparisonEntry], dataset: Dataset, most: int) -> list[WallImage]:
    """The images on which the detectors together do worst; none where no detections are known.

    Args:
        entries: those without detections are left out.
        dataset: that they were found in.
        most: number of images.
    """
    files = {e.name: e.detections for e in entries if e.detections is not None}
    if not files or most < 1:
        return []
    truth = dataset.coco_ground_truth()
    federation = Federation(truth)
    found = {name: strong(path, federation) for name, path in files.items()}
    names = class_names(truth)
    annotations = by_image(truth["annotations"])
    position = {image: n for n, image in enumerate(dataset.image_ids)}
    judged = {
        image: {
            name: judge_image(known(rows.get(image, ()), names), annotations.get(image, ()), image, federation)
            for name, rows in found.items()
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
            boxes[name] = detector_boxes(one, names)
        each = {name: f1(one) for name, one in judged[image].items()}
        shown.append(WallImage(Path(sample.path).name, sample.image, boxes, score[image], each))
    return shown


def strong(path: Path, federation: Federation) -> dict[Any, list[Mapping[str, Any]]]:
    """Detections that are worth drawing, by image; of classes that were looked for."""
    rows = load_json(path, limit=JSON_BYTES)
    return by_image([row for row in federation.counted(rows) if row["score"] >= DRAWN_FROM])


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
