"""Images of what the matcher sees: the candidates of a cell, and which of them a ground truth gets."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from detzoo.detectors.one_stage import OneStage
from detzoo.errors import DataError, DetzooError
from detzoo.prediction.input_spec import InputSpec
from detzoo.prediction.prepare import collate, prepare
from detzoo.runtime.drawing import DARK, GREY, LIGHT, Colour, ImageArray, Mark, colour_of, draw_marks
from detzoo.runtime.own_drawings import check_may_write, write_drawing
from detzoo.runtime.report_text import class_name
from detzoo.types import IGNORE, Assignment, Candidates, ImageBatch, Level, Predictions, Sample, Targets

if TYPE_CHECKING:
    from detzoo.data import Dataset
    from detzoo.interfaces import Detector

DRAWN_BY: Final = "show"
"""The command whose drawings may be replaced."""
_PANEL: Final = 420  # px of a panel's image
_MARGIN: Final = 0.25  # of the image, around it: candidates may reach beyond its edges
_TITLE: Final = 30  # px
_COLUMNS: Final = 3
_CANVAS: Final = 900  # px of the long side of a drawing of matches
_GROUND: Final[Colour] = (235, 235, 235)


def draw_priors_of(target: str, overrides: Sequence[str], out: Path) -> str:
    """Build a recipe, draw the candidates of its middle cells to a file.

    Returns:
        one line that says what was drawn.
    """
    from detzoo.builder import build

    check_may_write(out, DRAWN_BY)
    detector = build(target, overrides=list(overrides), weights=None)
    image, lines = draw_priors(detector)
    write_drawing(out, image, by=DRAWN_BY)
    return "\n".join([*lines, f"drawn to {out}"])


def draw_matches_of(target: str, overrides: Sequence[str], data: str, image: Path, out: Path) -> str:
    """Build or load a detector, match one image of a dataset, draw the result to a file.

    Returns:
        how many candidates each box got, one line per box.
    """
    from detzoo.builder import build
    from detzoo.data import list_splits, open_dataset

    check_may_write(out, DRAWN_BY)
    datasets = [open_dataset(data, split) for split in list_splits(data) or [None]]
    sample = _sample_of(datasets, image)
    dataset = datasets[0]
    detector = build(target, overrides=list(overrides), classes=dataset.classes, weights=None)
    drawn, lines = draw_matches(detector, sample)
    write_drawing(out, drawn, by=DRAWN_BY)
    return "\n".join([*lines, f"drawn to {out}"])


def draw_priors(detector: Detector, image: ImageArray | None = None) -> tuple[ImageArray, list[str]]:
    """The candidates of the middle cell of every level, one panel per level, to scale with the network input.

    Args:
        detector: of one stage, with a grid of candidates.
        image: uint8 [H,W,3] RGB below the boxes; plain grey where None.

    Returns:
        the drawing, and one line per level.
    """
    given = blank() if image is None else image
    batch = prepare([given], detector.input)
    candidates = _candidates(detector, batch)
    if not candidates.levels:
        raise DetzooError(f"{detector.name} has no grid of candidates: there are no priors to draw")
    boxes = candidates.boxes[0]
    ground = visible(batch, detector.input)
    panels, lines, start = [], [], 0
    for level in candidates.levels:
        own = boxes[start : start + level.count]
        start += level.count
        line = _describe(level, own)
        lines.append(line)
        panels.append(_panel(ground, level, own, line))
    return _tile(panels), lines


def blank() -> ImageArray:
    """A plain grey image of 480 x 640 px."""
    return np.full((480, 640, 3), 200, np.uint8)


def draw_matches(detector: Detector, sample: Sample) -> tuple[ImageArray, list[str]]:
    """Ground truth with the candidates that answer for it, as the matcher and the sampler of the detector decide.

    Each box has a colour of its own, shared by its positives. Ground truth that is ignored is dashed; candidates that
    are left out of the loss are grey dots.

    Args:
        detector: of one stage.
        sample: image and annotations.

    Returns:
        the drawing in the network's frame, padding included, and one line per box.
    """
    plan = detector.train_plan
    batch, targets = collate([sample], detector.input, difficult=plan.difficult, crowd=plan.crowd)
    candidates, assignment = _assignment(detector, batch, targets)
    zoom = max(1.0, _CANVAS / max(batch.pixels.shape[-2:]))
    ground = visible(batch, detector.input)
    ground = np.asarray(cv2.resize(ground, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR), np.uint8)
    ground = _dots(ground, candidates, assignment, zoom)
    marks, lines = _match_marks(detector, candidates, assignment, targets, zoom)
    index = assignment.index[0]
    counts = f"{len(index)} candidates: {int((index >= 0).sum())} positive, {int((index == IGNORE).sum())} left out"
    return draw_marks(ground, marks), [counts, *lines]


def visible(batch: ImageBatch, spec: InputSpec) -> ImageArray:
    """The first image of a batch as the network gets it, padding included, turned back into uint8 RGB."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    values = (batch.pixels[0].cpu() * std + mean) * (255 / spec.pixel_range)
    if spec.channels == "bgr":
        values = values.flip(0)
    return np.ascontiguousarray(values.round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def _candidates(detector: Detector, batch: ImageBatch) -> Candidates:
    return _network(detector, batch)[0]


def _network(detector: Detector, batch: ImageBatch) -> tuple[Candidates, Predictions]:
    from detzoo.prediction.predict import inference

    with inference(detector):
        return _one_stage(detector).network(batch)


def _one_stage(detector: Detector) -> OneStage:
    """The detector itself.

    Raises:
        DetzooError: it is of another meta-architecture.
    """
    if not isinstance(detector, OneStage):
        raise DetzooError(f"{detector.name} is no one-stage detector: its candidates depend on the image")
    return detector


def _assignment(detector: Detector, batch: ImageBatch, targets: Targets) -> tuple[Candidates, Assignment]:
    candidates, predictions = _network(detector, batch)
    one = _one_stage(detector)
    with torch.no_grad():
        assignment = one.sampler(one.matcher(candidates, targets, predictions.float()))
    return candidates, assignment


def _match_marks(
    detector: Detector, candidates: Candidates, assignment: Assignment, targets: Targets, zoom: float
) -> tuple[list[Mark], list[str]]:
    """Positives thin, ground truth thick and last, so that it lies on top; and a line for each ground truth."""
    index = assignment.index[0]
    places = (candidates.boxes[0] * zoom).tolist()
    level_of = [level.name for level in candidates.levels for _ in range(level.count)]
    positives: list[Mark] = []
    truths: list[Mark] = []
    lines = []
    for row in torch.nonzero(targets.valid[0]).flatten().tolist():
        own = torch.nonzero(index == row).flatten().tolist()
        per_level = Counter(level_of[i] for i in own) if level_of else Counter({"regions": len(own)})
        ignored = bool(targets.ignore[0, row])
        colour = GREY if ignored else colour_of(row)
        label = int(targets.labels[0, row])
        name = class_name(detector.classes, label)
        box = targets.boxes[0, row]
        detail = ", ".join(f"{level} {count}" for level, count in per_level.items()) or "no candidate"
        lines.append(f"{name} {_size(box)}: {'ignored' if ignored else detail}")
        positives += [Mark(tuple(places[i]), colour=colour, weight=0.4) for i in own]
        text = f"{name}: ignored" if ignored else f"{name}: {detail}"
        truths.append(Mark(tuple((box * zoom).tolist()), text, colour, dashed=ignored))
    return positives + truths, lines


def _dots(ground: ImageArray, candidates: Candidates, assignment: Assignment, zoom: float) -> ImageArray:
    """A grey dot in the middle of each candidate that is left out although it is a real one."""
    boxes, valid = candidates.boxes[0], candidates.valid[0]
    left_out = boxes[(assignment.index[0] == IGNORE) & valid]
    drawn = ground.copy()
    for x, y in ((left_out[:, :2] + left_out[:, 2:]) * (zoom / 2)).round().int().tolist():
        cv2.circle(drawn, (x, y), 2, GREY, cv2.FILLED)
    return drawn


def _describe(level: Level, boxes: Tensor) -> str:
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    root = sides.prod(dim=1).sqrt()
    return (
        f"{level.name}: {level.height}x{level.width} cells, {level.per_cell} per cell, "
        f"{float(root.min()):.0f}..{float(root.max()):.0f} px"
    )


def _panel(ground: ImageArray, level: Level, boxes: Tensor, title: str) -> ImageArray:
    height, width = ground.shape[:2]
    zoom = _PANEL / max(height, width)
    margin = round(_PANEL * _MARGIN)
    shown = np.asarray(cv2.resize(ground, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
    canvas = cv2.copyMakeBorder(shown, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=_GROUND)
    cells = boxes.reshape(level.height * level.width, level.per_cell, 4)
    centres = (cells[:, 0, :2] + cells[:, 0, 2:]) / 2 * zoom + margin
    for x, y in centres.round().int().tolist():
        cv2.circle(canvas, (x, y), 1, DARK, cv2.FILLED)
    middle = (level.height // 2) * level.width + level.width // 2
    places = (cells[middle] * zoom + margin).tolist()
    marks = [Mark(tuple(place), colour=colour_of(entry)) for entry, place in enumerate(places)]
    drawn = draw_marks(np.asarray(canvas, np.uint8), marks)
    bar = np.full((_TITLE, drawn.shape[1], 3), DARK, np.uint8)
    cv2.putText(bar, title, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, LIGHT, 1, cv2.LINE_AA)
    return np.concatenate([bar, drawn])


def _tile(panels: list[ImageArray]) -> ImageArray:
    columns = min(_COLUMNS, len(panels))
    blank = np.full_like(panels[0], 255)
    filled = panels + [blank] * (math.ceil(len(panels) / columns) * columns - len(panels))
    rows = [np.concatenate(filled[i : i + columns], axis=1) for i in range(0, len(filled), columns)]
    return np.concatenate(rows)


def _sample_of(datasets: Sequence[Dataset], image: Path) -> Sample:
    """The sample of a dataset's splits whose file it is: the same path, else the only one with that file name."""
    known = {str(path): (dataset, row) for dataset in datasets for row, path in enumerate(dataset.paths)}
    exact = [path for path in known if path == str(image) or Path(path) == image.resolve()]
    named = exact or [path for path in known if image.name in {Path(path).name, Path(path).stem}]
    if len(named) == 1:
        dataset, row = known[named[0]]
        return dataset.sample(row)
    name = datasets[0].name
    if named:
        raise DataError(f"{image}: {len(named)} images of {name} have that name; give the full path")
    shown = ", ".join(list(known)[:3])
    raise DataError(f"{image} is not in {name}, which has {len(known)} images: {shown}, ...")


def _size(box: Tensor) -> str:
    width, height = (box[2:] - box[:2]).tolist()
    return f"{width:.0f}x{height:.0f} px"
