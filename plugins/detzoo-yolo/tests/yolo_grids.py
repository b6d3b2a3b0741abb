"""Grids that a reader can work out by hand: 2x2 cells of 10 px."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detzoo.types import Candidates, Level, Predictions, Targets
from detzoo_yolo.box_coder import AnchorCoder, GridCoder

CELL = 10.0
REGION = (0.0, 0.0, 20.0, 20.0)


def grid_places(boxes: int = 2) -> Candidates:
    """YOLOv1's candidates: every cell, once for each of its boxes."""
    corners = [(x, y) for y in (0.0, CELL) for x in (0.0, CELL) for _ in range(boxes)]
    cells = torch.tensor([[x, y, x + CELL, y + CELL] for x, y in corners], dtype=torch.float64)
    level = Level("grid", 2, 2, boxes, CELL)
    coder = GridCoder(grid=(2, 2), square_root=True)
    return Candidates(cells[None], torch.ones(1, len(cells), dtype=torch.bool), (level,), coder)


def anchor_places(sizes: Sequence[tuple[float, float]]) -> Candidates:
    """YOLOv2's candidates: anchors (width, height) in the middle of every cell."""
    centres = [(x, y) for y in (5.0, 15.0) for x in (5.0, 15.0)]
    boxes = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y in centres for w, h in sizes]
    level = Level("s10", 2, 2, len(sizes), CELL)
    valid = torch.ones(1, len(boxes), dtype=torch.bool)
    return Candidates(torch.tensor(boxes, dtype=torch.float64)[None], valid, (level,), AnchorCoder())


def truth(*images: Sequence[Sequence[float]], labels: Sequence[Sequence[int]] | None = None) -> Targets:
    """Ground truth [x1, y1, x2, y2] of each image; labels 0, 1, 2, ... unless given."""
    most = max(1, *(len(image) for image in images)) + 1  # one row of padding at least
    boxes = torch.zeros(len(images), most, 4, dtype=torch.float64)
    valid = torch.zeros(len(images), most, dtype=torch.bool)
    known = torch.arange(most).repeat(len(images), 1)
    for row, image in enumerate(images):
        for place, box in enumerate(image):
            boxes[row, place] = torch.tensor(box, dtype=torch.float64)
            valid[row, place] = True
            if labels is not None:
                known[row, place] = labels[row][place]
    region = torch.tensor([REGION] * len(images), dtype=torch.float64)
    return Targets(boxes, known, torch.zeros_like(valid), valid, region)


def said(deltas: Tensor, quality: Tensor, classes: Tensor, scoring: str) -> Predictions:
    """Predictions that are leaves of the graph."""
    leaves = [tensor.clone().double().requires_grad_() for tensor in (classes, deltas[:, :, None], quality)]
    return Predictions(leaves[0], scoring, leaves[1], leaves[2])  # type: ignore[arg-type]
