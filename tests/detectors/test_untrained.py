"""Detections of a detector that nobody trained are told as such, once; any change of the weights ends that."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

import detzoo
from detzoo.interfaces import Detector

IMAGE = np.zeros((40, 60, 3), np.uint8)


def untrained_ssd() -> Detector:
    pytest.importorskip("detzoo_ssd")
    small: dict[str, Any] = {"input.size": [64, 64], "neck.channels": 8, "backbone.weights": None}
    return detzoo.build("ssd_mobilenet_v2_fpn", num_classes=2, overrides=small, weights=None)


@pytest.fixture
def fresh() -> Detector:
    return untrained_ssd()


def test_a_detector_may_be_built_under_inference_mode() -> None:
    with torch.inference_mode():  # its tensors count no versions
        assert "head (ssd)" in untrained_ssd().untrained


def test_told_once_with_what_to_do(fresh: Detector, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        fresh.predict([IMAGE], channels="rgb")
    (told,) = [record.getMessage() for record in caplog.records]
    assert "head (ssd)" in told
    assert "not trained" in told
    assert "detzoo.load" in told


def test_nothing_is_told_after_a_step_or_a_load(fresh: Detector, caplog: pytest.LogCaptureFixture) -> None:
    other = copy.deepcopy(fresh)
    assert fresh.untrained
    fresh.to(torch.float32).eval().requires_grad_(True)
    assert fresh.untrained, "neither a move nor a mode trains anything"
    with torch.no_grad():
        next(fresh.parameters()).add_(1)
    other.load_state_dict(fresh.state_dict())
    for detector in (fresh, other):
        assert detector.untrained == ()
        detector.predict([IMAGE], channels="rgb")
    assert not caplog.records
