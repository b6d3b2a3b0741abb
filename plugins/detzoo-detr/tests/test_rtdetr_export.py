"""An exported RT-DETR finds under onnxruntime what it finds in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from detzoo.builder import build
from detzoo.export import export_onnx
from detzoo.types import ImageBatch

SMALL = {
    "input.size": [96, 128],
    "neck.channels": 32,
    "head.decoder.width": 32,
    "head.decoder.layers": 2,
    "head.queries": 20,
    "postprocess.keep": 20,
}


@pytest.mark.slow  # an export takes a minute of one core
@pytest.mark.parametrize("method", ["default", "discrete"])
def test_as_in_pytorch_at_two_batch_sizes(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = build(
        "rtdetr_mobilenet_v2", overrides=SMALL | {"head.decoder.method": method}, num_classes=3, weights=None
    )
    detector.eval()
    path = tmp_path / "rtdetr.onnx"
    assert export_onnx(detector, path, postprocess=True) < 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for images in (1, 3):
        pixels = torch.rand(images, 3, 96, 128, generator=torch.Generator().manual_seed(images))
        region = torch.tensor([[0.0, 0.0, 128.0, 96.0]]).expand(images, 4)
        ones = torch.ones(images, 2)
        with torch.no_grad():
            found = detector.detect(ImageBatch(pixels, region, ones.long(), ones, torch.arange(images)))
        boxes, scores, labels = session.run(["boxes", "scores", "labels"], {"pixels": pixels.numpy()})
        np.testing.assert_allclose(scores, found.scores.numpy(), atol=1e-5)
        # equal scores may change places: every detection has one of its score, class and box on the other side
        same = np.abs(scores[:, :, None] - found.scores.numpy()[:, None]) < 1e-5
        same &= labels[:, :, None] == found.labels.numpy()[:, None]
        same &= np.abs(boxes[:, :, None] - found.boxes.numpy()[:, None]).max(3) < 2e-2
        assert same.any(2).all()
        assert same.any(1).all()
