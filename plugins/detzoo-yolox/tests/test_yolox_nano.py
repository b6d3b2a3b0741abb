"""YOLOX-Nano with Megvii's weights: the ONNX file's own runtime is the oracle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms
from typer.testing import CliRunner

from detzoo.builder import build
from detzoo.cli import app
from detzoo.errors import WeightsError
from detzoo.interfaces import Detector
from detzoo.prediction.prepare import prepare
from detzoo.runtime.images import read_image
from detzoo.weights.detector import convert_weights
from detzoo.weights.sources import read_state_dict

ort = pytest.importorskip("onnxruntime")
SIDE = 416
PHOTOS = 16


@pytest.fixture(scope="module")
def file(shared: Path) -> Path:
    return shared / "weights" / "yolox-nano-coco" / "yolox_nano.onnx"


@pytest.fixture(scope="module")
def detector(file: Path) -> Detector:
    made = build("yolox_nano_coco", weights=None)
    convert_weights(made, file, source="yolox")
    return made.eval()


@pytest.fixture(scope="module")
def runtime(file: Path) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(file), options)


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[NDArray[np.uint8]]:
    folder = shared / "data" / "coco128" / "images" / "val2017"
    return [read_image(path) for path in sorted(folder.iterdir())[:PHOTOS]]


def letterboxed(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Megvii's ``preproc``: [1,3,416,416] BGR bytes, and network px per original px (horizontal, vertical).

    Megvii divides boxes by the one factor before its sides were cut to whole px; that moves them by up to 1 px.
    """
    ratio = min(SIDE / image.shape[0], SIDE / image.shape[1])
    height, width = int(image.shape[0] * ratio), int(image.shape[1] * ratio)
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    canvas[:height, :width] = cv2.resize(image[..., ::-1], (width, height), interpolation=cv2.INTER_LINEAR)
    return canvas.transpose(2, 0, 1)[None].astype(np.float32), (width / image.shape[1], height / image.shape[0])


def detections(raw: NDArray[np.float32], scale: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes in px of the original, scores and labels: Megvii's decoding, every class, suppression at 0.65."""
    out = torch.from_numpy(raw[0])
    cells = torch.cat(
        [
            torch.stack([x, y, torch.full_like(x, stride)], -1).flatten(0, 1)
            for stride in (8, 16, 32)
            for y, x in [torch.meshgrid(torch.arange(SIDE // stride), torch.arange(SIDE // stride), indexing="ij")]
        ]
    )
    centre, sides = (out[:, :2] + cells[:, :2]) * cells[:, 2:], out[:, 2:4].exp() * cells[:, 2:]
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], 1)
    scores = out[:, 4:5] * out[:, 5:]
    row, label = (scores >= 0.01).nonzero(as_tuple=True)
    kept = batched_nms(boxes[row], scores[row, label], label, 0.65)[:300]
    return boxes[row[kept]] / torch.tensor([*scale, *scale]), scores[row[kept], label[kept]], label[kept]


def test_raw_outputs(detector: Detector, runtime: Any, photos: list[NDArray[np.uint8]]) -> None:
    pixels, _ = letterboxed(photos[0])
    raw = torch.from_numpy(runtime.run(None, {"images": pixels})[0])
    batch = prepare([photos[0]], detector.input)
    torch.testing.assert_close(batch.pixels, torch.from_numpy(pixels), rtol=0, atol=0)
    with torch.no_grad():
        _, found = detector.network(batch)
    # of their range, up to 3.4 strides: in float32 either runtime is 1e-4 to 4e-4 off what float64 gives
    torch.testing.assert_close(found.deltas[:, :, 0], raw[..., :4], rtol=0, atol=1e-4 * float(raw[..., :4].abs().max()))
    torch.testing.assert_close(found.quality_logits.sigmoid(), raw[..., 4], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.class_logits.sigmoid(), raw[..., 5:], rtol=0, atol=1e-4)


def test_detections(detector: Detector, runtime: Any, photos: list[NDArray[np.uint8]]) -> None:
    total = 0
    for image in photos:
        pixels, scale = letterboxed(image)
        boxes, scores, labels = detections(runtime.run(None, {"images": pixels})[0], scale)
        height, width = image.shape[:2]
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        [found] = detector.predict([image], channels="rgb")
        count = int((scores >= 0.05).sum())
        assert len(found.scores) == len(scores)
        torch.testing.assert_close(found.scores, scores, rtol=0, atol=1e-4)
        assert found.labels[:count].tolist() == labels[:count].tolist()
        torch.testing.assert_close(found.boxes[:count], boxes[:count], rtol=0, atol=0.05)  # px
        total += count
    assert total > 100


def test_a_damaged_file_and_another_network(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="not an ONNX file, or damaged"):
        read_state_dict(cut)
    with pytest.raises(WeightsError, match=r"is it the same\s+architecture"):
        convert_weights(build("yolox_tiny_coco", weights=None), file, source="yolox")


@pytest.mark.slow
def test_exported_files_find_what_predict_finds(file: Path, shared: Path, tmp_path: Path) -> None:
    """Imported, exported with post-processing, and run on four photographs, each with an empty image in its batch."""
    names = ("coral/cat_720p.jpg", "coral/parrot.jpg", "py-faster-rcnn/000456.jpg", "py-faster-rcnn/004545.jpg")
    paths = [shared / "data" / "demo" / name for name in names]
    weights, onnx, program = (tmp_path / name for name in ("nano.safetensors", "nano.onnx", "nano.pt2"))
    for command in (
        ["weights", "import", str(file), "--from", "yolox", "--detector", "yolox_nano_coco", "--out", str(weights)],
        ["export", str(weights), "--out", str(onnx), "--postprocess"],
        ["export", str(weights), "--out", str(program), "--format", "torch"],
        ["predict", str(weights), *map(str, paths), "--score-threshold", "0.01", "--out", str(tmp_path / "out")],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    session, module = ort.InferenceSession(str(onnx)), torch.export.load(program).module()
    told = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    total = 0
    for path, image in zip(paths, told, strict=True):
        pixels, scale = letterboxed(read_image(path))
        region = np.array([[0, 0, image["width"] * scale[0], image["height"] * scale[1]]], np.float32)
        grey = np.full_like(pixels, 114)
        both = np.concatenate([pixels, grey]), np.concatenate([region, [[0, 0, SIDE, SIDE]]]).astype(np.float32)
        expected = image["detections"]
        with torch.no_grad():
            programmed = [part.numpy() for part in module(*map(torch.from_numpy, both))]
        order = ["boxes", "scores", "labels", "valid"]
        for boxes, scores, labels, valid in (
            session.run(order, {"pixels": pixels, "region": region}),
            session.run(order, dict(zip(("pixels", "region"), both, strict=True))),
            programmed,
        ):
            assert valid.sum(1).tolist() == [len(expected), 0][: len(valid)]
            assert_told(boxes[0][valid[0]] / np.array([*scale, *scale]), scores[0], labels[0], expected)
        total += len(expected)
    assert total == 98


def assert_told(boxes: Any, scores: Any, labels: Any, expected: list[dict[str, Any]]) -> None:
    """The same scores, and where they are not so low that equal ones change places, labels and boxes."""
    count = sum(one["score"] >= 0.05 for one in expected)
    np.testing.assert_allclose(scores[: len(expected)], [one["score"] for one in expected], rtol=0, atol=1e-4)
    assert labels[:count].tolist() == [one["label"] for one in expected[:count]]
    np.testing.assert_allclose(boxes[:count], [one["box"] for one in expected[:count]], rtol=0, atol=0.05)  # px


@pytest.mark.slow
def test_ap_on_all_photographs(file: Path, shared: Path, tmp_path: Path) -> None:
    """The figures that the file's own runtime gives, measured with pycocotools: AP .339, AP50 .501."""
    root = shared.resolve() / "data" / "coco128"
    shutil.copytree(root / "object_detection" / "labels", tmp_path / "labels")
    shutil.copy(root / "object_detection" / "config.yaml", tmp_path / "data.yaml")
    (tmp_path / "images").symlink_to(root / "images")
    weights = tmp_path / "nano.safetensors"
    commands = [
        ["weights", "import", str(file), "--from", "yolox", "--detector", "yolox_nano_coco", "--out", str(weights)],
        ["eval", str(weights), "--data", str(tmp_path / "data.yaml"), "--split", "val", "--out", str(tmp_path / "out")],
    ]
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]
    assert metrics["AP"] == pytest.approx(0.339, abs=0.003)
    assert metrics["AP50"] == pytest.approx(0.501, abs=0.003)
