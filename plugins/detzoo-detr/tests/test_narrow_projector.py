"""A projector of one channel has layers with numbers in them."""

from __future__ import annotations

import torch

from detzoo.types import FeatureSpec
from detzoo_detr.projector import C2fProjector


def test_one_channel() -> None:
    projector = C2fProjector({"a": FeatureSpec(4, 16, (2, 3))}, channels=1, blocks=1)
    assert all(parameter.numel() > 0 for parameter in projector.parameters())
    (found,) = projector({"a": torch.ones(1, 4, 2, 3)}).values()
    assert found.shape == (1, 1, 2, 3)
