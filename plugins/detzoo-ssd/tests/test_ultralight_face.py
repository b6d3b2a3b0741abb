"""Somebody else's trained SSD: golden scores and boxes, and the faces of the demo photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from detzoo import build, convert_weights
from detzoo.interfaces import Detector
from detzoo.ops.boxes import iou_matrix
from detzoo.prediction.prepare import prepare
from detzoo.runtime.images import read_image

FILES = {"slim": "version-slim-320.pth", "rfb": "version-RFB-320.pth"}
GOLDEN = {"slim": "slim-320", "rfb": "RFB-320"}
FACES = {
    "face.jpg": [[10, 103, 56, 163], [124, 88, 222, 203], [254, 56, 352, 174], [440, 114, 492, 186]],
    "grace_hopper.bmp": [[176, 128, 356, 334]],
}
"""Drawn by eye on the photos, xyxy px: hairline to chin, ear to ear."""


@pytest.fixture(scope="module", params=["slim", "rfb"])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def detector(version: str, shared: Path) -> Detector:
    made = build(f"ssd_ultralight_face_{version}", weights=None).eval()
    convert_weights(made, shared / "weights" / "ultra-light-face-ssd" / FILES[version], source="ultralight_face")
    return made


@pytest.mark.parametrize("photo", FACES)
def test_golden_scores_and_boxes(detector: Detector, version: str, shared: Path, photo: str) -> None:
    image = read_image(shared / "data" / "demo" / "coral" / photo)
    reference = shared / "weights" / "ultra-light-face-ssd" / "reference"
    golden = np.load(reference / f"{GOLDEN[version]}_{photo.partition('.')[0]}.npz")
    batch = prepare([image], detector.input)
    with torch.no_grad():
        priors, predictions = detector.network(batch)
    assert predictions.class_logits is not None
    assert priors.coder is not None
    scores = predictions.class_logits.softmax(-1)[0]
    boxes = priors.coder.decode(predictions.deltas[0, :, 0], priors.boxes[0], priors.strides())
    relative = boxes / torch.tensor([320.0, 240.0, 320.0, 240.0])
    assert scores.shape == (4420, 2)
    torch.testing.assert_close(scores, torch.from_numpy(golden["scores"]), atol=1e-3, rtol=0)
    torch.testing.assert_close(relative, torch.from_numpy(golden["boxes"]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("photo", FACES)
def test_predict_finds_every_face_once(detector: Detector, shared: Path, photo: str) -> None:
    found = detector.predict([shared / "data" / "demo" / "coral" / photo], score_threshold=0.6)[0]
    overlaps = iou_matrix(torch.tensor(FACES[photo], dtype=torch.float32), found.boxes)
    assert (overlaps >= 0.5).sum(1).tolist() == [1] * len(FACES[photo])
    assert found.names == ["face"] * len(found)
    assert len(found) == len(FACES[photo])


def test_the_one_class_is_label_0(detector: Detector, shared: Path) -> None:
    found = detector.predict([shared / "data" / "demo" / "coral" / "grace_hopper.bmp"], score_threshold=0.6)[0]
    assert found.labels.tolist() == [0]
    assert found.scores[0] > 0.99
    assert detector.classes == ("face",)
