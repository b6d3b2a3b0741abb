"""TensorFlow's SSD MobileNetV2 by LiteRT, which runs MediaPipe's file: the numbers that detzoo's port is tested by.

    python benchmarks/ssd_against_tflite.py ssd_mnv2_oidv4_fp16.tflite DEMO --out oracle.npz

Needs ai-edge-litert, torchvision and Pillow, and nothing of detzoo: priors, decoding and suppression are written out
here as MediaPipe has them (``ssd_anchors_calculator.cc``, ``tensors_to_detections_calculator.cc``, with the options of
``object_detection_oid_v4_cpu.pbtxt``). Suppression is TensorFlow's, at 0.6 within each class: MediaPipe's graph keeps a
single box. ``DEMO`` is a folder of folders of photos.
"""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F
from torchvision.ops import batched_nms

SIDE = 300
THRESHOLD = 0.2
ROWS = slice(None, None, 37)
"""Of the 1,917 priors, those whose raw outputs are stored."""
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)


def pattern() -> NDArray[np.uint8]:
    """[300,300,3] bytes that a formula gives, so that no image file, decoder or resizing stands between."""
    y, x, channel = np.ogrid[:SIDE, :SIDE, :3]
    value = 3 * x + 5 * y + 61 * channel + (x * y) // 37 + 90 * ((x // 40 + y // 56) % 2)
    return np.asarray(value % 256, dtype=np.uint8)


def resized(image: NDArray[np.uint8]) -> torch.Tensor:
    """[1,300,300,3] in -1..1: bilinear, pixel centres at halves, aspect ratio ignored."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    small = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return small.permute(0, 2, 3, 1) / 127.5 - 1


def network(path: Path) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Class logits [1917,24] and boxes [1917,4] of an image."""
    litert: Any = importlib.import_module("ai_edge_litert.interpreter")  # no dependency of the project
    model = litert.Interpreter(str(path), num_threads=1)
    model.allocate_tensors()
    (entry,) = model.get_input_details()
    exits = {one["name"]: one["index"] for one in model.get_output_details()}

    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        model.set_tensor(entry["index"], pixels.contiguous().numpy())
        model.invoke()
        names = ("raw_outputs/class_predictions", "raw_outputs/box_encodings")
        classes, boxes = (torch.from_numpy(model.get_tensor(exits[name]).copy())[0] for name in names)
        return classes, boxes

    return run


def priors() -> torch.Tensor:
    """[1917,4]: y, x, height, width in parts of the image."""
    made = []
    for level, stride in enumerate((16, 32, 64, 128, 256, 512)):
        cells = math.ceil(SIDE / stride)
        scale = SCALES[level]
        if level == 0:
            shapes = [(1.0, 0.1), (2.0, scale), (0.5, scale)]
        else:
            shapes = [(ratio, scale) for ratio in (1.0, 2.0, 0.5, 3.0, 0.3333)]
            shapes.append((1.0, math.sqrt(scale * SCALES[level + 1])))
        for row in range(cells):
            for column in range(cells):
                for ratio, size in shapes:
                    root = math.sqrt(ratio)
                    made.append([(row + 0.5) / cells, (column + 0.5) / cells, size / root, size * root])
    return torch.tensor(made)


def detections(classes: torch.Tensor, raw: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[D,6]: box in px of the image of ``size`` (height, width), score and label, best first."""
    prior = priors()
    centre = raw[:, :2] / 10 * prior[:, 2:] + prior[:, :2]
    half = (raw[:, 2:] / 5).exp() * prior[:, 2:] / 2
    boxes = torch.cat([centre - half, centre + half], 1).clamp(0, 1)[:, [1, 0, 3, 2]]
    scores = classes[:, 1:].sigmoid()  # background is class 0
    row, label = (scores > THRESHOLD).nonzero(as_tuple=True)
    kept = batched_nms(boxes[row], scores[row, label], label, 0.6)[:100]
    pixels = boxes[row[kept]] * torch.tensor([size[1], size[0]] * 2)
    return torch.cat([pixels, scores[row[kept], label[kept]][:, None], label[kept][:, None]], 1)


def main() -> None:
    """Write the oracle's numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = network(options.model)
    classes, boxes = run(torch.from_numpy(pattern())[None].float() / 127.5 - 1)
    stored: dict[str, Any] = {
        "classes": classes[ROWS].numpy(),
        "boxes": boxes[ROWS].numpy(),
        "priors": priors()[ROWS].numpy(),
    }
    for path in sorted(options.photos.glob("*/*")):
        if path.suffix not in (".jpg", ".bmp"):
            continue
        with Image.open(path) as opened:
            image = np.array(opened.convert("RGB"))
        found = detections(*run(resized(image)), image.shape[:2])
        stored[path.name] = found.numpy()
        print(f"{path.name}: {len(found)} detections")
    np.savez_compressed(options.out, **stored)


if __name__ == "__main__":
    main()
