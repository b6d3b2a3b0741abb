"""Detections draw the image that was given to ``predict``, in its own colours, whatever it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from detzoo.errors import DetzooError
from detzoo.prediction.detections import Detections
from detzoo.prediction.input_spec import InputSpec
from tests.detectors.test_prediction import Quarters

RED: NDArray[np.uint8] = np.full((40, 60, 3), (200, 30, 10), np.uint8)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (RED, {"channels": "rgb"}),
        (RED[..., ::-1].copy(), {"channels": "bgr"}),
        (torch.from_numpy(RED).permute(2, 0, 1), {}),
        (Image.fromarray(RED), {}),
    ],
)
def test_the_image_is_remembered(image: Any, options: dict[str, Any], tmp_path: Path) -> None:
    detector = Quarters(InputSpec(size=(32, 32)))
    (found,) = detector.predict([image], **options)
    assert found.draw(min_score=2.0)[20, 30].tolist() == [200, 30, 10]
    assert found.draw(image, min_score=2.0)[20, 30].tolist() == [200, 30, 10]
    found.save(tmp_path / "a.png", min_score=2.0)
    assert np.asarray(cv2.imread(str(tmp_path / "a.png")))[20, 30].tolist() == [10, 30, 200]
    assert detector(image, **options).draw(min_score=2.0)[20, 30].tolist() == [200, 30, 10]


def test_the_short_form_takes_the_settings_of_predict() -> None:
    detector = Quarters(InputSpec(size=(32, 32), mean=(0, 0, 0), std=(1, 1, 1)))
    white = np.full_like(RED, 255)
    assert len(detector(white, channels="rgb")) == 3
    assert len(detector(white, channels="rgb", keep=1)) == 1
    assert len(detector(white, channels="rgb", score_threshold=0.4)) == 2


def test_detections_of_nobody_need_an_image() -> None:
    nothing = torch.zeros(0)
    found = Detections(torch.zeros(0, 4), nothing, nothing.long(), ("a",), (40, 60))
    with pytest.raises(DetzooError, match="add image="):
        found.draw()
    assert found.draw(RED).tolist() == RED.tolist()
