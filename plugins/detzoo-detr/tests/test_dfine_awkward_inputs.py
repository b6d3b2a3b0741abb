"""D-FINE: nothing to find, everything at once, and images of every size."""

from __future__ import annotations

import pytest
import torch
from dfine_oracle import OURS_DFINE

from detzoo.builder import build
from detzoo.interfaces import Detector
from detzoo.testing.awkward_inputs import IMAGE_SIZES, SCENES, SIZE, check_boxes_inside, finite_losses

CHANGES = {"input.size": list(SIZE), "head.decoder.layers": 2, "head.decoder.points": [1, 1]}


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return build("dfine_n_coco", overrides=OURS_DFINE | CHANGES, num_classes=3, weights=None)


@pytest.mark.parametrize("scene", SCENES)
def test_losses_and_gradients_are_finite(detector: Detector, scene: str) -> None:
    terms = finite_losses(detector, scene)
    assert terms["classification"] > 0  # of all queries
    assert (terms["distance"] > 0) == (terms["overlap"] > 0)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_images_of_every_size(detector: Detector, size: tuple[int, int]) -> None:
    check_boxes_inside(detector, size)
