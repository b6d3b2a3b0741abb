"""TensorFlow's SSD MobileNetV2 with MediaPipe's weights; the oracle: LiteRT (``benchmarks/ssd_against_tflite.py``)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detzoo import build, convert_weights
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import prepare
from detzoo.runtime.images import read_image
from detzoo_ssd.tflite_file import read_tflite


@pytest.fixture(scope="module")
def file(shared: Path) -> Path:
    return shared / "weights" / "ssd-mobilenet_v2-openimages" / "ssd_mnv2_oidv4_fp16.tflite"


@pytest.fixture(scope="module")
def detector(file: Path) -> Detector:
    made = build("ssd_mobilenet_v2_openimages", weights=None)
    convert_weights(made, file, source="tflite")
    return made.eval()


@pytest.fixture(scope="module")
def oracle() -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).parent / "ssd_mobilenet_v2_openimages.npz") as stored:
        return dict(stored)


def pattern() -> NDArray[np.uint8]:
    """[300,300,3] bytes, of the formula in the benchmark."""
    y, x, channel = np.ogrid[:300, :300, :3]
    value = 3 * x + 5 * y + 61 * channel + (x * y) // 37 + 90 * ((x // 40 + y // 56) % 2)
    return np.asarray(value % 256, dtype=np.uint8)


def test_raw_outputs_and_priors(detector: Detector, oracle: dict[str, NDArray[np.float32]]) -> None:
    with torch.no_grad():
        priors, found = detector.network(prepare([pattern()], detector.input))
    assert found.class_logits is not None
    classes, boxes = torch.from_numpy(oracle["classes"])[:, 1:], torch.from_numpy(oracle["boxes"])[:, [1, 0, 3, 2]]
    assert classes.shape == (52, 23)  # every 37th of 1,917
    torch.testing.assert_close(found.class_logits[0, ::37], classes, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.deltas[0, ::37, 0], boxes, rtol=0, atol=1e-3)
    y, x, high, wide = torch.from_numpy(oracle["priors"]).unbind(1)
    expected = torch.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], 1) * 300
    torch.testing.assert_close(priors.boxes[0, ::37], expected, rtol=0, atol=1e-3)  # px


def test_detections(detector: Detector, oracle: dict[str, NDArray[np.float32]], shared: Path) -> None:
    total = 0
    photos = [path for path in sorted((shared / "data" / "demo").glob("*/*")) if path.name in oracle]
    assert len(photos) == 12
    for path in photos:
        stored = torch.from_numpy(oracle[path.name])
        [found] = detector.predict([read_image(path)], channels="rgb", score_threshold=0.2)
        assert found.labels.tolist() == stored[:, 5].int().tolist()
        torch.testing.assert_close(found.scores, stored[:, 4], rtol=0, atol=1e-3)
        torch.testing.assert_close(found.boxes, stored[:, :4], rtol=0, atol=0.1)  # px
        total += len(stored)
    assert total > 30


@pytest.mark.parametrize(
    ("photo", "names"),
    [("coral/cat_720p.jpg", ["cat"]), ("coral/pets.jpg", ["dog", "dog"]), ("py-faster-rcnn/000542.jpg", ["cat"])],
)
def test_animals_of_the_demo_photos(detector: Detector, shared: Path, photo: str, names: list[str]) -> None:
    assert detector.predict([shared / "data" / "demo" / photo], score_threshold=0.6)[0].names == names


def test_other_and_damaged_files(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tflite(path)
    path.write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(WeightsError, match="no TensorFlow Lite file"):
        read_tflite(path)
    data = file.read_bytes()
    for cut in (8, 12, 5_000, len(data) // 2, len(data) - 1_000):
        path.write_bytes(data[:cut])
        with pytest.raises(WeightsError, match=r"is damaged: .*Fetch it again"):
            read_tflite(path)
    path.write_bytes(struct.pack("<I", 2**31 - 8) + data[4:])  # the root table stands beyond the end
    with pytest.raises(WeightsError, match="is damaged"):
        read_tflite(path)


def test_another_network_is_named(file: Path) -> None:
    with pytest.raises(WeightsError, match=r"is it the same\s+architecture"):
        convert_weights(build("ssd_mobilenet_v1", weights=None), file, source="tflite")
