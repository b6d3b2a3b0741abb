"""Nothing to find, everything at once, and images of every size."""

from __future__ import annotations

import pytest
import torch

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo.testing.awkward_inputs import IMAGE_SIZES, SCENES, SIZE, check_boxes_inside, finite_losses


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    small = {"input.size": list(SIZE), "neck.channels": 32, "head.decoder.width": 32, "head.denoising.queries": 10}
    return build("rtdetr_mobilenet_v2", overrides=small, num_classes=3, weights=None)


@pytest.mark.parametrize("scene", SCENES)
def test_losses_and_gradients_are_finite(detector: Detector, scene: str) -> None:
    terms = finite_losses(detector, scene)
    assert terms["classification"] > 0  # of all queries
    assert (terms["distance"] > 0) == (terms["dn0.distance"] > 0)  # both, or there is nothing to find


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_images_of_every_size(detector: Detector, size: tuple[int, int]) -> None:
    check_boxes_inside(detector, size)
