"""Proposals on images: the best boxes, the objects that they cover, and the segments from which they grew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from detzoo.proposals.recall import objects_of, overlap_matrix
from detzoo.runtime.drawing import DARK, ImageArray, Mark, colour_of, draw_marks
from detzoo.types import Sample

Colours = Literal["mean", "random"]

COVERED: Final = (0, 158, 115)  # of an object with IoU 0.5 or more: green
MISSED: Final = (213, 94, 0)  # of the others: vermilion
OBJECT: Final = (250, 250, 250)
_STRIP: Final = 26  # px: a line of text above an image
_GAP: Final = 6  # px between two images


class Cover(NamedTuple):
    """An object, and the proposal nearest to it.

    Args:
        object: float64 [4] xyxy px.
        box: float64 [4] xyxy px; None where there is no proposal.
        rank: of the proposal, the best being 0.
        iou: of the two; 0 where there is no proposal.
    """

    object: NDArray[np.float64]
    box: NDArray[np.float64] | None
    rank: int
    iou: float


def covers(boxes: NDArray[np.float32], sample: Sample) -> list[Cover]:
    """The nearest of the proposals [P,4] for each object of a sample; difficult and crowd boxes are left out."""
    objects = objects_of(sample)
    if not len(boxes):
        return [Cover(each, None, -1, 0.0) for each in objects]
    overlaps = overlap_matrix(boxes, objects)
    best = overlaps.argmax(axis=0)
    return [
        Cover(each, boxes[row].astype(np.float64), int(row), float(overlaps[row, column]))
        for column, (each, row) in enumerate(zip(objects, best, strict=True))
    ]


def draw_best(image: ImageArray, boxes: NDArray[np.float32]) -> ImageArray:
    """Boxes [P,4] xyxy px on a copy of an image, the best on top, each in a colour of its own; many are thin."""
    weight = 1.0 if len(boxes) <= 30 else 0.5
    marks = [Mark(tuple(box), colour=colour_of(row), weight=weight) for row, box in enumerate(boxes.tolist())]
    return draw_marks(image, marks[::-1])


def draw_covers(image: ImageArray, found: Sequence[Cover]) -> ImageArray:
    """Objects dashed in white; the proposal nearest to each with its IoU, green from 0.5 on, vermilion below."""
    marks = [Mark(tuple(each.object.tolist()), colour=OBJECT, dashed=True) for each in found]
    for each in found:
        if each.box is not None:
            colour = COVERED if each.iou >= 0.5 else MISSED
            marks.append(Mark(tuple(each.box.tolist()), f"{each.iou:.2f} #{each.rank + 1}", colour))
    return draw_marks(image, marks)


def draw_segments(image: ImageArray, labels: NDArray[np.int32], colours: Colours, seed: int = 0) -> ImageArray:
    """Segments as areas of one colour.

    Args:
        image: uint8 [H,W,3] RGB.
        labels: int32 [H,W], 0 or more.
        colours: the segment's mean colour; or a random one, with dark borders.
        seed: of the random colours.

    Returns:
        uint8 [H,W,3] RGB.
    """
    flat, count = labels.ravel(), int(labels.max(initial=0)) + 1
    if colours == "random":
        palette = np.random.default_rng(seed).integers(60, 256, (count, 3)).astype(np.uint8)
        drawn = palette[labels]
        drawn[borders(labels)] = DARK
        return np.asarray(drawn)
    size = np.maximum(np.bincount(flat, minlength=count), 1)
    means = [np.bincount(flat, image[:, :, channel].ravel(), minlength=count) / size for channel in range(3)]
    return np.asarray(np.stack(means, axis=1).round().astype(np.uint8)[labels])


def borders(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool [H,W]: pixels whose right or lower neighbour belongs to another segment."""
    found = np.zeros(labels.shape, np.bool_)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def side_by_side(images: Sequence[tuple[str, ImageArray]]) -> ImageArray:
    """Images of one height next to each other, each with a line of text above it."""
    height = max(image.shape[0] for _, image in images) + _STRIP
    columns = []
    for text, image in images:
        column = np.full((height, image.shape[1] + _GAP, 3), 255, np.uint8)
        column[_STRIP : _STRIP + image.shape[0], : image.shape[1]] = image
        cv2.putText(column, text, (4, _STRIP - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, DARK, 1, cv2.LINE_AA)
        columns.append(column)
    return np.concatenate(columns, axis=1)[:, :-_GAP]
