"""NanoDet-m: nothing to find, everything at once, and images of every size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo.testing import image_batch, targets

SIZE = (96, 128)
Box = tuple[float, float, float, float]


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return build("nanodet_m_coco", overrides={"input.size": list(SIZE)}, num_classes=3, weights=None)


def many(count: int) -> list[Box]:
    draw = np.random.default_rng(0)
    corner = draw.uniform(0, 1, (count, 2)) * (SIZE[1] - 20, SIZE[0] - 20)
    return [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corner, draw.uniform(1, 20, (count, 2)), strict=True)]


SCENES: dict[str, list[list[Box]]] = {
    "no object in one image": [[], [(10.0, 10.0, 60.0, 50.0)]],
    "no object at all": [[], []],
    "boxes of one pixel": [[(10.0, 10.0, 11.0, 11.0), (95.0, 90.0, 96.0, 91.0)], [(0.0, 0.0, 1.0, 1.0)]],
    "a box without area": [[(10.0, 10.0, 10.0, 30.0)], []],
    "1,000 boxes": [many(1000), many(3)],
    "one box, 50 times": [[(20.0, 20.0, 70.0, 60.0)] * 50, []],
}

MATCHED = {"no object in one image", "1,000 boxes", "one box, 50 times"}
"""Scenes with an object in which a point lies: the others have none, or smaller ones than a stride."""


@pytest.mark.parametrize("scene", SCENES)
def test_losses_and_gradients_are_finite(detector: Detector, scene: str) -> None:
    detector.train().zero_grad()
    truth = targets(SCENES[scene], size=SIZE, padded=1008)
    terms = detector.losses(image_batch(2, size=SIZE), truth)
    total = torch.stack(list(terms.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert bool(total.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in detector.parameters() if p.grad is not None)
    assert float(terms["classification"].detach()) > 0  # of all cells
    assert (float(terms["box"].detach()) > 0) == (scene in MATCHED)


@pytest.mark.parametrize("size", [(16, 16), (1, 300), (3000, 4000)])
def test_images_of_every_size(detector: Detector, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    [found] = detector.eval().predict([image], channels="rgb", score_threshold=0.0)
    boxes = found.boxes
    assert bool(boxes.isfinite().all())
    assert float(boxes.min()) >= 0
    assert bool((boxes[:, 2:] <= torch.tensor([size[1], size[0]])).all())
