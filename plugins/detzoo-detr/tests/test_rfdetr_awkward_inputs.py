"""RF-DETR's head: nothing to find, everything at once, and images of every size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detzoo.builder import build
from detzoo.detectors.one_stage import OneStage
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import prepare
from detzoo.testing.awkward_inputs import IMAGE_SIZES, SCENES, SIZE, check_boxes_inside, finite_losses

EMPTY = {"no object at all", "a box without area"}


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The cells are 8 x 6, so that there are fewer than queries: 48 of 50."""
    torch.manual_seed(0)
    return build("rfdetr_mobilenet_v2", overrides={"input.size": list(SIZE)}, num_classes=3, weights=None)


@pytest.mark.parametrize("scene", SCENES)
def test_losses_and_gradients_are_finite(detector: Detector, scene: str) -> None:
    terms = finite_losses(detector, scene)
    for name in ("", "aux0.", "encoder.", "groups."):
        assert terms[f"{name}classification"] > 0
        assert (terms[f"{name}distance"] > 0) == (scene not in EMPTY)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_images_of_every_size(detector: Detector, size: tuple[int, int]) -> None:
    check_boxes_inside(detector, size)


def test_padding_plays_no_part() -> None:
    """Of a letterboxed image, no query begins in the padding, and what stands there changes nothing behind the neck."""
    torch.manual_seed(0)
    letterboxed = {"input.size": [96, 128], "input.resize": "letterbox", "input.place": "centre"}
    net = build("rfdetr_mobilenet_v2", overrides=letterboxed, num_classes=3, weights=None).eval()
    assert isinstance(net, OneStage)
    batch = prepare([np.zeros((96, 32, 3), np.uint8)], net.input)
    with torch.no_grad():
        features = net.neck(net.backbone(batch.pixels))
        changed = {name: one.clone() for name, one in features.items()}
        for one in changed.values():  # 6 x 8 cells; 48 px to either side are padding
            one[..., :3], one[..., 5:] = 7.0, -7.0
        (_, before), (_, after) = (net.head(maps, batch) for maps in (features, changed))
    assert torch.equal(before.deltas, after.deltas)
    assert before.class_logits is not None
    assert after.class_logits is not None
    assert torch.equal(before.class_logits, after.class_logits)
