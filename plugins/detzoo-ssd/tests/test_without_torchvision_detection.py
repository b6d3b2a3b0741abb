"""``torchvision.models.detection`` is a reference for tests and benchmarks: the project runs without it.

That no source file names it, a test of the house shows in milliseconds.
"""

from __future__ import annotations

import pytest

from detzoo.testing.parity import assert_runs_without

RECIPES = ("ssdlite320_mobilenet_v3_large", "ssd_mobilenet_v2_fpn", "ssd_ultralight_face_rfb")


@pytest.mark.slow
def test_the_project_runs_with_torchvision_detection_blocked() -> None:
    assert_runs_without("torchvision.models.detection", RECIPES)
