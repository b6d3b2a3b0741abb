"""Random candidates on grids, random ground truth and predictions, for matchers that are compared with plain loops."""

from __future__ import annotations

import torch
from torch import Tensor

from detzoo.components.anchors import Grid
from detzoo.components.box_coders import Edges
from detzoo.types import Candidates, Predictions, Targets


def grid(*levels: tuple[int, int, int], side: float = 4.0, ratios: tuple[float, ...] = (1.0,)) -> Candidates:
    """Anchors of ``side`` strides in the middle of each cell of levels (stride, rows, columns)."""
    features = {f"s{stride}": torch.zeros(1, 1, rows, columns) for stride, rows, columns in levels}
    sizes = [[side * stride] for stride, _, _ in levels]
    stride, rows, columns = levels[0]
    boxes, made = Grid(sizes=sizes, ratios=list(ratios), offset=0.5)(features, (stride * rows, stride * columns))
    return Candidates(boxes[None], torch.ones(1, len(boxes), dtype=torch.bool), made, Edges())


def truth(*images: list[list[float]], labels: list[list[int]] | None = None, padded: int = 0) -> Targets:
    """Ground truth of each image, padded to the largest number and ``padded`` more."""
    most = max(len(boxes) for boxes in images) + padded
    found = torch.zeros(len(images), most, 4)
    valid = torch.zeros(len(images), most, dtype=torch.bool)
    classes = torch.zeros(len(images), most, dtype=torch.int64)
    for row, boxes in enumerate(images):
        found[row, : len(boxes)] = torch.tensor(boxes).reshape(-1, 4)
        valid[row, : len(boxes)] = True
        if labels is not None:
            classes[row, : len(boxes)] = torch.tensor(labels[row], dtype=torch.int64)
    return Targets(found, classes, torch.zeros_like(valid), valid, torch.zeros(len(images), 4))


def random_boxes(generator: torch.Generator, count: int, size: float, most: float) -> Tensor:
    """float32 [count,4] within ``size`` px, sides from 1 px to ``most``."""
    side = 1 + torch.rand(count, 2, generator=generator) * (most - 1)
    corner = torch.rand(count, 2, generator=generator) * (size - side).clamp(min=0)
    return torch.cat([corner, corner + side], dim=1)


def random_truth(seed: int, counts: tuple[int, ...], *, size: float = 128.0, most: float = 90.0) -> Targets:
    """So many boxes of 3 classes in each image, one in ten of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    images = [random_boxes(generator, count, size, most).tolist() for count in counts]
    labels = [torch.randint(0, 3, (count,), generator=generator).tolist() for count in counts]
    made = truth(*images, labels=labels, padded=2)
    ignore = (torch.rand(made.valid.shape, generator=generator) < 0.1) & made.valid
    return Targets(made.boxes, made.labels, ignore, made.valid, made.region)


def random_predictions(seed: int, images: int, places: Candidates) -> Predictions:
    """Sigmoid scores of 3 classes, distances from the centre of 0 to 4 strides."""
    generator = torch.Generator().manual_seed(seed)
    count = places.boxes.shape[1]
    logits = torch.randn(images, count, 3, generator=generator) * 2 - 1
    return Predictions(logits, "sigmoid", torch.rand(images, count, 1, 4, generator=generator) * 4)


def plain_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def plain_inside(candidate: list[float], box: list[float]) -> bool:
    x, y = (candidate[0] + candidate[2]) / 2, (candidate[1] + candidate[3]) / 2
    return min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01


def plain_covered(candidate: list[float], box: list[float]) -> float:
    """The share of the candidate that a box covers."""
    width = min(candidate[2], box[2]) - max(candidate[0], box[0])
    height = min(candidate[3], box[3]) - max(candidate[1], box[1])
    area = (candidate[2] - candidate[0]) * (candidate[3] - candidate[1])
    return max(width, 0.0) * max(height, 0.0) / area
