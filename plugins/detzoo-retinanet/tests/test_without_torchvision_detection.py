"""``torchvision.models.detection`` is a reference for tests and benchmarks: the project runs without it.

That no source file names it, a test of the house shows in milliseconds.
"""

from __future__ import annotations

import pytest

from detzoo.testing.parity import assert_runs_without

RECIPES = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn")
SMALL = {"input.min_size": 64, "input.max_size": 96, "neck.channels": 64}


@pytest.mark.slow
def test_the_project_runs_with_torchvision_detection_blocked() -> None:
    assert_runs_without("torchvision.models.detection", RECIPES, SMALL)
