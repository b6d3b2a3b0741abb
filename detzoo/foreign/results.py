"""What a foreign detector gives: as arrays on its own side, and checked on ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detzoo.foreign.errors import ForeignError

_NUMBERS: Final = "biuf"
_PARTS: Final = 3
_WANTED: Final = "(boxes [N,4], scores [N], labels [N])"


@dataclass(frozen=True)
class FoundInImage:
    """Detections of one image as a foreign detector gave them.

    Args:
        boxes: float32 [N,4] xyxy px.
        scores: float32 [N].
        labels: int64 [N].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


def as_arrays(given: Any, images: int) -> list[FoundInImage]:
    """Whatever was returned, as arrays; of values only the shapes and kinds are looked at here.

    Args:
        given: of the foreign detector.
        images: that it was asked about.

    Raises:
        ForeignError: it has another form; the message names image and part.
    """
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise ForeignError(f"returned {_kind(given)}; expected a list of {_WANTED}, one for each image")
    if len(given) != images:
        raise ForeignError(f"returned {len(given)} results for {images} images; expected one for each image")
    return [_one(found, f"image {place}") for place, found in enumerate(given)]


def _one(found: Any, where: str) -> FoundInImage:
    if not isinstance(found, tuple | list) or len(found) != _PARTS:
        size = f" of {len(found)}" if isinstance(found, tuple | list) else ""
        raise ForeignError(f"{where}: returned {_kind(found)}{size}; expected {_WANTED}")
    boxes, scores, labels = (_array(part, f"{where}: {name}") for part, name in zip(found, _NAMES, strict=True))
    if boxes.size == 0 and scores.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ForeignError(f"{where}: boxes have the shape {list(boxes.shape)}; expected [N,4], xyxy px of the image")
    for name, part in (("scores", scores), ("labels", labels)):
        if part.shape != (len(boxes),):
            raise ForeignError(
                f"{where}: {name} have the shape {list(part.shape)}; expected [{len(boxes)}], one for each box"
            )
    whole = np.trunc(labels) == labels if labels.dtype.kind == "f" else np.ones(len(labels), bool)
    if not whole.all():
        raise ForeignError(f"{where}: labels hold {labels[~whole][0]}; expected whole numbers")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite, which is told
        return FoundInImage(boxes.astype(np.float32), scores.astype(np.float32), labels.astype(np.int64))


_NAMES: Final = ("boxes", "scores", "labels")


def _array(part: Any, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(part)
    except Exception:  # tensors on a GPU, or that want gradients, do not become arrays by themselves
        try:
            array = np.asarray(part.detach().cpu().numpy())
        except Exception as error:
            raise ForeignError(f"{where}: {_kind(part)} cannot be read as numbers ({error})") from None
    if array.dtype.kind not in _NUMBERS:
        raise ForeignError(f"{where}: {_kind(part)} of {array.dtype} is none of numbers")
    return array


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else type(value).__name__


def check_values(found: FoundInImage, size: tuple[int, int], classes: int, where: str) -> None:
    """Reject values that are no detections of an image.

    Args:
        found: arrays of the right shapes.
        size: (height, width) px of the image.
        classes: K.
        where: the image, for messages.

    Raises:
        ForeignError: something is not finite, scores are not in 0..1, labels not in 0..K-1, a box is turned inside
            out, or lies outside the image.
    """
    boxes, scores, labels = found.boxes, found.scores, found.labels
    if not len(boxes):
        return
    for name, part in (("boxes", boxes), ("scores", scores)):
        bad = ~np.isfinite(part).reshape(len(boxes), -1).all(1)
        if bad.any():
            first = np.atleast_1d(part[bad][0]).tolist()
            raise ForeignError(f"{where}: {bad.sum()} of {len(boxes)} {name} are not finite, the first: {first}")
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise ForeignError(
            f"{where}: scores reach from {scores.min():.4g} to {scores.max():.4g}; expected 0..1 (are they logits?)"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ForeignError(
            f"{where}: labels reach from {labels.min()} to {labels.max()}; expected 0..{classes - 1}, for it names "
            f"{classes} classes (does it count from 1, or does it have a background?)"
        )
    _check_boxes(boxes, size, where)


def _check_boxes(boxes: NDArray[np.float32], size: tuple[int, int], where: str) -> None:
    height, width = size
    turned = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    if turned.any():
        raise ForeignError(
            f"{where}: {turned.sum()} of {len(boxes)} boxes end before they begin, the first: "
            f"{_shown(boxes[turned][0])}; expected xyxy (are they xywh?)"
        )
    wide = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if wide.any() and boxes.max() <= 1 and max(size) > 1:
        raise ForeignError(
            f"{where}: all {len(boxes)} boxes lie within the first px, the first: {_shown(boxes[wide][0])}; expected "
            "px of the image (are they relative?)"
        )
    beyond = (boxes[:, 2] < 0) | (boxes[:, 3] < 0) | (boxes[:, 0] > width) | (boxes[:, 1] > height)
    if beyond.any():
        raise ForeignError(
            f"{where}: {beyond.sum()} of {len(boxes)} boxes lie outside the image of {height}x{width} px, the first: "
            f"{_shown(boxes[beyond][0])}; leave such out, and give boxes in px of the image as it came"
        )


def _shown(box: NDArray[np.float32]) -> str:
    return str([round(float(value), 3) for value in box])
