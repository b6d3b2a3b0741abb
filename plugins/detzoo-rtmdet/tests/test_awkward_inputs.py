"""Nothing to find, everything at once, and images of every size."""

from __future__ import annotations

import pytest
import torch

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo.testing.awkward_inputs import IMAGE_SIZES, SCENES, SIZE, check_boxes_inside, finite_losses

MATCHED = {"no object in one image", "1,000 boxes", "one box, 50 times"}
"""Scenes with an object in which a point lies: the others have none, or smaller ones than a stride."""


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return build("rtmdet_tiny_coco", overrides={"input.size": list(SIZE)}, num_classes=3, weights=None)


@pytest.mark.parametrize("scene", SCENES)
def test_losses_and_gradients_are_finite(detector: Detector, scene: str) -> None:
    terms = finite_losses(detector, scene)
    assert terms["classification"] > 0  # of all points
    assert (terms["box"] > 0) == (scene in MATCHED)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_images_of_every_size(detector: Detector, size: tuple[int, int]) -> None:
    check_boxes_inside(detector, size)
