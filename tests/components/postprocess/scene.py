"""What the tests of post-processing look at: random candidates of a few images."""

from typing import Any, Final

import torch

from detzoo.components.box_coders import CentreSize
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.suppress import Nms
from detzoo.types import Candidates, DetectionBatch, ImageBatch, Predictions, Scoring

SCORINGS: Final[tuple[Scoring, ...]] = ("categorical", "sigmoid", "linear")


def scene(
    images: int = 2, priors: int = 400, classes: int = 5, *, per_class: int = 1, scoring: Scoring = "softmax"
) -> tuple[Predictions, Candidates, ImageBatch]:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1, priors, 2, generator=generator) * 250
    boxes = torch.cat([corner, corner + 10 + torch.rand(1, priors, 2, generator=generator) * 90], dim=-1)
    columns = classes + (scoring == "softmax")
    logits = torch.randn(images, priors, columns, generator=generator) * 2
    deltas = torch.randn(images, priors, per_class, 4, generator=generator)
    candidates = Candidates(boxes, torch.ones(1, priors, dtype=torch.bool), coder=CentreSize())
    return Predictions(logits, scoring, deltas), candidates, batch_of(images)


def batch_of(images: int) -> ImageBatch:
    return ImageBatch(
        torch.zeros(images, 3, 1, 1),
        torch.tensor([[0.0, 0, 300, 300]]).repeat(images, 1),
        torch.full((images, 2), 300),
        torch.ones(images, 2),
        torch.arange(images),
    )


def ssd_post(**changes: Any) -> PerClassDetections:
    parts: dict[str, Any] = {"suppress": Nms(iou=0.45), "score_threshold": 0.01, "per_class_top_k": 100, "keep": 50}
    return PerClassDetections(**{**parts, **changes})


def same(a: DetectionBatch, b: DetectionBatch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("boxes", "scores", "labels", "valid"))
