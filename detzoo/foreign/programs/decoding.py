"""What the outputs of a network mean: boxes and scores of every candidate, or finished detections.

Letters: B images, N candidates, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.postprocess.top_k import TopK
from detzoo.components.suppress import Nms
from detzoo.foreign.errors import ForeignError
from detzoo.foreign.options import BoxForm, ForeignOptions, Units
from detzoo.foreign.protocol import Found, Image
from detzoo.interfaces import PostProcess
from detzoo.prediction.predict import original_boxes
from detzoo.types import Candidates, ImageBatch, Predictions

STRIDES: Final = (8, 16, 32)
_FEWEST: Final = 6
"""Columns of a candidate: box, objectness, one class."""


@dataclass(frozen=True)
class Reading:
    """How outputs are read; see ``ForeignOptions``.

    Args:
        decoder: what they are.
        outputs: role -> name.
        boxes: order of a box' numbers.
        units: of boxes.
        scoring: of queries.
        first_label: that the first class has.
        classes: K.
        score_threshold: lower scores are dropped.
        nms_iou: of suppression; None where there is none.
        keep: detections per image.
    """

    decoder: str
    outputs: dict[str, str]
    boxes: BoxForm
    units: Units
    scoring: str
    first_label: int
    classes: int
    score_threshold: float
    nms_iou: float | None
    keep: int

    @classmethod
    def of(cls, options: ForeignOptions, classes: int) -> Reading:
        """With defaults for what was not written."""
        suppresses = options.decoder not in ("detections", "queries")
        iou = 0.65 if options.nms_iou is None else options.nms_iou
        return cls(
            decoder=options.decoder,
            outputs=options.outputs or {},
            boxes=options.boxes,
            units=options.units,
            scoring=options.scoring,
            first_label=options.first_label,
            classes=classes,
            score_threshold=0.01 if options.score_threshold is None else options.score_threshold,
            nms_iou=iou if suppresses else None,
            keep=300 if options.keep is None else options.keep,
        )


def decode(
    outputs: Mapping[str, NDArray[Any]], batch: ImageBatch | None, images: list[Image], reading: Reading
) -> list[Found]:
    """Detections of each image, in its own px.

    Args:
        outputs: by name.
        batch: the prepared images; None where they went in as they are.
        images: as they came.
        reading: what the outputs mean.

    Raises:
        ForeignError: the outputs are not what the decoder reads.
    """
    if reading.decoder == "detections":
        return [_finished(outputs, batch, images, at, reading) for at in range(len(images))]
    if batch is None:
        raise ForeignError(f"decoder {reading.decoder} needs input: its boxes are in px of the prepared image")
    if reading.decoder == "queries":
        boxes, scores = _queries(outputs, batch, reading)
        return found_in(TopK(keep=reading.keep, score_threshold=reading.score_threshold), boxes, scores, batch)
    own = reading.decoder == "distributions"  # its boxes are cut before they are compared, and scores must exceed
    if own:
        boxes, scores = _distributions(list(outputs.values()), batch, reading.classes)
    elif reading.decoder == "columns":
        boxes, scores = _columns(only(outputs), reading.classes)
    else:
        boxes, scores = _objectness(only(outputs), batch, reading.classes, grid=reading.decoder == "cells")
    assert reading.nms_iou is not None
    suppressing = PerClassDetections(
        suppress=Nms(iou=reading.nms_iou),
        score_threshold=reading.score_threshold,
        strict=own,
        clip="before" if own else "after",
        keep=reading.keep,
    )
    return found_in(suppressing, boxes, scores, batch)


def found_in(postprocess: PostProcess, boxes: Tensor, scores: Tensor, batch: ImageBatch) -> list[Found]:
    """Detections of candidates, in px of the images.

    Args:
        postprocess: chooses among them.
        boxes: float32 [B,N,4] xyxy network px.
        scores: float32 [B,N,K].
        batch: for size and place of the images.
    """
    predictions = Predictions(scores, "linear", boxes.unsqueeze(2))
    candidates = Candidates(boxes, torch.ones(boxes.shape[:2], dtype=torch.bool))
    return per_image(postprocess(predictions, candidates, batch), batch)


def per_image(found: Any, batch: ImageBatch) -> list[Found]:
    """A ``DetectionBatch`` in network px as arrays of each image, in its own px."""
    boxes = original_boxes(found.boxes.float(), batch)
    return [
        (boxes[at][valid].numpy(), found.scores[at][valid].numpy(), found.labels[at][valid].numpy())
        for at, valid in enumerate(found.valid)
    ]


def only(outputs: Mapping[str, NDArray[Any]]) -> Tensor:
    """The single output, float32 [B,...].

    Raises:
        ForeignError: there are several.
    """
    if len(outputs) != 1:
        raise ForeignError(f"it has {len(outputs)} outputs ({', '.join(outputs)}); this decoder reads one")
    return torch.from_numpy(np.asarray(next(iter(outputs.values())), np.float32))


def xyxy(boxes: Tensor, form: str) -> Tensor:
    """Boxes [...,4] of another order as xyxy."""
    if form == "xyxy":
        return boxes
    a, b, c, d = boxes.unbind(-1)
    if form == "yxyx":
        return torch.stack([b, a, d, c], -1)
    if form == "xywh":
        return torch.stack([a, b, a + c, b + d], -1)
    return torch.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], -1)


def _objectness(raw: Tensor, batch: ImageBatch, classes: int, *, grid: bool) -> tuple[Tensor, Tensor]:
    """[B,N,5+K]: centre and size (in cells of the grid, its logarithm; or px), objectness and class scores."""
    if raw.ndim != 3 or raw.shape[2] < _FEWEST:
        raise ForeignError(f"its output is {list(raw.shape)}; expected [B,N,5+K]")
    _check_classes(raw.shape[2] - 5, classes)
    boxes = raw[..., :4]
    if grid:
        cells, strides = _grid(batch, raw.shape[1])
        boxes = torch.cat([(boxes[..., :2] + cells) * strides, boxes[..., 2:].exp() * strides], -1)
    return xyxy(boxes, "cxcywh"), raw[..., 4:5] * raw[..., 5:]


def _grid(batch: ImageBatch, count: int) -> tuple[Tensor, Tensor]:
    """Cells [N,2] (x, y) of all levels and their strides [N,1]; with P6 where there are as many candidates."""
    height, width = batch.pixels.shape[-2:]
    for strides in (STRIDES, (*STRIDES, 64)):
        if sum((height // s) * (width // s) for s in strides) == count:
            break
    else:
        raise ForeignError(f"it has {count} candidates, which are no grid of {height}x{width} px with strides 8 to 32")
    cells, steps = [], []
    for stride in strides:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        cells.append(torch.stack([x, y], -1).reshape(-1, 2))
        steps.append(torch.full((len(cells[-1]), 1), float(stride)))
    return torch.cat(cells).float(), torch.cat(steps)


def _columns(raw: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """[B,4+K,N]: centre and size in px of the input, and class scores."""
    if raw.ndim != 3 or raw.shape[1] <= 4:
        raise ForeignError(f"its output is {list(raw.shape)}; expected [B,4+K,N]")
    _check_classes(raw.shape[1] - 4, classes)
    columns = raw.transpose(1, 2)
    return xyxy(columns[..., :4], "cxcywh"), columns[..., 4:].contiguous()


def _distributions(outputs: list[NDArray[Any]], batch: ImageBatch, classes: int) -> tuple[Tensor, Tensor]:
    """Scores [B,n,K] and distributions [B,n,4*bins] of each level, in any order; distances from the cells' centres."""
    levels = sorted((torch.from_numpy(np.asarray(one, np.float32)) for one in outputs), key=lambda one: -one.shape[1])
    scores = [one for one in levels if one.shape[2] == classes]
    edges = [one for one in levels if one.shape[2] != classes]
    counts = [one.shape[1] for one in scores]
    if not scores or counts != [one.shape[1] for one in edges] or any(one.shape[2] % 4 for one in edges):
        shapes = ", ".join(str(list(one.shape)) for one in levels)
        raise ForeignError(
            f"its outputs are {shapes}; decoder nanodet reads [B,n,{classes}] and [B,n,4*bins] of each level"
        )
    cells, strides = _grid(batch, sum(counts))
    logits = torch.cat(edges, 1).reshape(len(edges[0]), sum(counts), 4, -1)
    distance = logits.softmax(-1) @ torch.arange(float(logits.shape[-1])) * strides
    centre = (cells + 0.5) * strides
    height, width = batch.pixels.shape[-2:]
    boxes = torch.cat([centre - distance[..., :2], centre + distance[..., 2:]], -1)
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    return boxes.clamp(min=0).minimum(limit), torch.cat(scores, 1)


def _queries(outputs: Mapping[str, NDArray[Any]], batch: ImageBatch, reading: Reading) -> tuple[Tensor, Tensor]:
    """Logits [B,N,C] and boxes [B,N,4] of queries."""
    logits = torch.from_numpy(np.asarray(_role(outputs, reading, "logits"), np.float32))
    boxes = xyxy(torch.from_numpy(np.asarray(_role(outputs, reading, "boxes"), np.float32)), reading.boxes)
    scores = logits.softmax(-1)[..., :-1] if reading.scoring == "softmax" else logits.sigmoid()
    _check_classes(scores.shape[-1] - reading.first_label, reading.classes)
    if reading.units == "relative":
        corner, far = batch.region[:, None, :2], batch.region[:, None, 2:]
        boxes = boxes * (far - corner).repeat(1, 1, 2) + corner.repeat(1, 1, 2)
    return boxes, scores[..., reading.first_label :]


def _finished(
    outputs: Mapping[str, NDArray[Any]], batch: ImageBatch | None, images: list[Image], at: int, reading: Reading
) -> Found:
    """Detections of one image that the network itself has chosen."""
    boxes, scores, labels = (
        _of_image(_role(outputs, reading, role), at, role) for role in ("boxes", "scores", "labels")
    )
    if not len(scores) == len(labels) == len(boxes):
        raise ForeignError(f"it gives {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels")
    height, width = images[at].shape[:2]
    found = xyxy(torch.from_numpy(np.asarray(boxes, np.float32)), reading.boxes)
    if reading.units == "relative":
        found = found * torch.tensor([width, height, width, height])
    elif reading.units == "input" and batch is not None:
        found = (found - batch.region[at, :2].repeat(2)) / batch.scale[at].flip(0).repeat(2)
    found = found.clamp(min=0).minimum(torch.tensor([width, height, width, height], dtype=torch.float32))
    count = len(scores)
    if "count" in reading.outputs and reading.outputs["count"] in outputs:
        count = int(np.asarray(outputs[reading.outputs["count"]]).reshape(-1)[at])
    kept = (scores >= reading.score_threshold) & (np.arange(len(scores)) < count)
    kept &= ((found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])).numpy()
    best = np.flatnonzero(kept)
    best = best[np.argsort(-scores[best], kind="stable")][: reading.keep]
    return found.numpy()[best], scores[best], np.round(labels[best]).astype(np.int64) - reading.first_label


def _of_image(output: NDArray[Any], at: int, role: str) -> NDArray[Any]:
    """One image's rows of an output [B,N,...], or of [N,...] for a single one."""
    axes = 2 if role == "boxes" else 1
    if output.ndim == axes and at == 0:
        return output
    if output.ndim == axes + 1 and at < len(output):
        return np.asarray(output[at])
    raise ForeignError(f"its {role} are {list(output.shape)}; expected [B,N{',4' if role == 'boxes' else ''}]")


def _role(outputs: Mapping[str, NDArray[Any]], reading: Reading, role: str) -> NDArray[Any]:
    name = reading.outputs.get(role)
    if name is None:
        raise ForeignError(f"outputs has no {role}: decoder {reading.decoder} needs it (outputs: {{{role}: NAME}})")
    if name not in outputs:
        raise ForeignError(f"outputs.{role} is {name}, which it does not give; it gives {', '.join(outputs)}")
    return outputs[name]


def _check_classes(found: int, named: int) -> None:
    if found != named:
        raise ForeignError(
            f"it tells {found} classes apart, and classes names {named}; give its own with --set classes=a,b,c"
        )
