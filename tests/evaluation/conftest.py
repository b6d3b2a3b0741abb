"""A detector that finds what is painted, and a dataset of painted rectangles: no weights, no files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detzoo.components.postprocess.top_k import TopK
from detzoo.errors import DataError
from detzoo.interfaces import Detector, GradientStage, Stage
from detzoo.prediction.input_spec import InputSpec
from detzoo.types import Candidates, ImageBatch, Predictions, Sample, Targets

CLASSES = ("red", "green")


class PaintFinder(Detector):
    """One box a class: the extent of its colour. Score: 1 minus the share of the image that it fills."""

    def __init__(self, classes: tuple[str | None, ...] = CLASSES, *, resize: str = "stretch") -> None:
        super().__init__()
        self.classes = classes
        size = (64, 64) if resize != "shortest" else None
        sides: dict[str, Any] = {"min_size": 64, "max_size": 128} if size is None else {}
        self.input = InputSpec(size=size, resize=resize, mean=(0, 0, 0), std=(1, 1, 1), **sides)  # type: ignore[arg-type]
        self.gain = nn.Parameter(torch.ones(()))
        self.postprocess = TopK()
        self.shapes: list[tuple[int, ...]] = []

    def network(self, batch: ImageBatch, targets: Targets | None = None) -> tuple[Candidates, Predictions]:
        self.shapes.append(tuple(batch.pixels.shape))
        boxes, scores = zip(*(self._boxes(image) for image in batch.pixels * self.gain), strict=True)
        scored = torch.stack(scores)
        predictions = Predictions(scored.diag_embed(), "linear", torch.zeros(*scored.shape, 1, 4))
        return Candidates(torch.stack(boxes), scored > 0), predictions

    def _boxes(self, image: Tensor) -> tuple[Tensor, Tensor]:
        boxes, scores = torch.zeros(len(CLASSES), 4), torch.zeros(len(CLASSES))
        for channel in range(len(CLASSES)):
            rows, columns = torch.nonzero(image[channel] > 0.5, as_tuple=True)
            if len(rows):
                edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                boxes[channel] = torch.stack(edges).float()
                scores[channel] = 1 - len(rows) / image[channel].numel() / 2
        return boxes, scores

    def losses(self, batch: ImageBatch, targets: Targets) -> dict[str, Tensor]:
        return {"nothing": self.gain * 0}

    def stages(self) -> list[Stage]:
        return [GradientStage(name="all")]


@dataclasses.dataclass
class Paintings:
    """``count`` images of a red and a green rectangle; every third is tall, ``broken`` ones cannot be read."""

    count: int = 7
    broken: tuple[int, ...] = ()
    name: str = "paintings"
    split: str = "test"
    classes: tuple[str, ...] = CLASSES
    category_ids: tuple[int, ...] = (11, 5)
    groups: tuple[str, ...] | None = None

    @property
    def image_ids(self) -> list[int]:
        return [100 + i for i in range(self.count)]

    def __len__(self) -> int:
        return self.count

    def boxes(self, i: int) -> np.ndarray[Any, Any]:
        return np.array([[4, 4, 24 + 2 * i, 20], [30, 40, 60, 60 + i % 3]], np.float32)

    def size(self, i: int) -> tuple[int, int]:
        return (128, 64) if i % 3 == 2 else (64, 64)

    def sample(self, index: int, *, masks: bool = True) -> Sample:
        if index in self.broken:
            raise DataError(f"image {index} is cut short")
        image = np.zeros((*self.size(index), 3), np.uint8)
        for channel, (x1, y1, x2, y2) in enumerate(self.boxes(index).astype(int)):
            image[y1:y2, x1:x2, channel] = 255
        none = np.zeros(2, bool)
        return Sample(image, self.boxes(index), np.arange(2), none, none, self.image_ids[index], f"{index}.png")

    def coco_ground_truth(self) -> dict[str, Any]:
        found = [(i, label, box) for i in range(self.count) for label, box in enumerate(self.boxes(i).tolist())]
        return {
            "images": [
                {"id": self.image_ids[i], "height": self.size(i)[0], "width": self.size(i)[1]}
                for i in range(self.count)
            ],
            "categories": [{"id": c, "name": n} for c, n in sorted(zip(self.category_ids, self.classes, strict=True))],
            "annotations": [
                {
                    "id": n,
                    "image_id": self.image_ids[i],
                    "category_id": self.category_ids[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
                for n, (i, label, (x1, y1, x2, y2)) in enumerate(found, start=1)
            ],
        }


@pytest.fixture
def finder() -> Callable[..., PaintFinder]:
    return PaintFinder


@pytest.fixture
def paintings() -> Callable[..., Paintings]:
    return Paintings
