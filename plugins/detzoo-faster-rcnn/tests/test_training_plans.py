"""Recipes whose training plans are those of others: large-scale jitter with copy-paste, torchvision's ssd."""

from __future__ import annotations

import pytest
import torch

import detzoo
from detzoo.data.shapes import ShapesDataset


@pytest.mark.parametrize(
    ("recipe", "transforms", "masks"),
    [
        ("maskrcnn_mobilenet_v2_fpn_lsj", ["LargeScaleJitter", "Flip", "CopyPaste"], True),
        ("fasterrcnn_mobilenet_v2_fpn_ssd_plan", ["TorchvisionV2"] * 4, False),
    ],
)
def test_the_plan_gives_batches_that_can_be_trained_on(recipe: str, transforms: list[str], masks: bool) -> None:
    data = ShapesDataset(count=8, size=128)
    detector = detzoo.build(recipe, num_classes=len(data.classes), overrides={"input.size": [128, 128]}, weights=None)
    chain = detector.train_plan.transforms
    assert [type(transform).__name__ for transform in chain] == transforms
    loader = data.loader(chain, detector.input, 4, seed=2, masks=detector.needs_masks)
    for batch, targets in loader:
        assert batch.pixels.shape == (4, 3, 128, 128)
        assert (targets.masks is not None) == masks
        assert bool((targets.boxes[..., 2:] <= 128).all())
        terms = detector.losses(batch, targets)
        assert all(bool(torch.isfinite(term)) for term in terms.values())
    assert len(loader) == 2
