"""NanoDet-m by OpenVINO, which runs its authors' file: the numbers that detzoo's port is tested against, and its AP.

    python benchmarks/nanodet_against_openvino.py nanodet_m.xml COCO128 [--out oracle.npz]

Needs openvino, opencv, pycocotools, torchvision and Pillow, and nothing of detzoo: letterbox, decoding and suppression
are written out here as NanoDet 0.x has them (``GFLHead.get_bboxes_single``). ``COCO128`` is a folder with
``images/val2017`` and YOLO's ``object_detection/labels/val2017``.

Two ways are measured. NanoDet's own: its warp, whose samples lie up to half a pixel off, and boxes that are cut to the
network's input before suppression. And detzoo's: cv2.resize, and boxes that are cut to the image within the input.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.ops import batched_nms

SIDE = 320
STORED = 8
"""Photos whose detections are stored."""
CELLS = slice(None, None, 41)
"""Of the 2,100 cells, those whose raw outputs are stored: a prime, so that all rows and columns are met."""
Pixels: TypeAlias = NDArray[np.uint8]
Way: TypeAlias = Callable[[Pixels], tuple[Pixels, NDArray[np.float64]]]


def pattern() -> Pixels:
    """[320,320,3] bytes that a formula gives, so that no image file and no decoder stands between."""
    y, x, channel = np.ogrid[:SIDE, :SIDE, :3]
    value = 3 * x + 5 * y + 61 * channel + (x * y) // 37 + 90 * ((x // 40 + y // 56) % 2)
    return np.asarray(value % 256, dtype=np.uint8)


def resized(image: Pixels) -> tuple[Pixels, NDArray[np.float64]]:
    """Centred on black by cv2.resize; and the 2x3 matrix from px of the image to px of the network."""
    height, width = image.shape[:2]
    ratio = min(SIDE / width, SIDE / height)
    if width >= height:
        wide, high = SIDE, height * SIDE // width
    else:
        wide, high = width * SIDE // height, SIDE
    left, top = (SIDE - wide) // 2, (SIDE - high) // 2
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[top : top + high, left : left + wide] = cv2.resize(image, (wide, high), interpolation=cv2.INTER_LINEAR)
    assert abs(wide / width - ratio) * width <= 1
    return canvas, np.array([[wide / width, 0, left], [0, high / height, top]])


def warped(image: Pixels) -> tuple[Pixels, NDArray[np.float64]]:
    """NanoDet's ``get_resize_matrix`` with keep_ratio, by cv2.warpPerspective."""
    height, width = image.shape[:2]
    ratio = min(SIDE / width, SIDE / height)
    matrix = np.array([[ratio, 0, (SIDE - ratio * width) / 2], [0, ratio, (SIDE - ratio * height) / 2], [0, 0, 1.0]])
    return cv2.warpPerspective(image, matrix, (SIDE, SIDE)).astype(np.uint8), matrix[:2]


def network(path: Path) -> Callable[[Pixels], tuple[torch.Tensor, torch.Tensor]]:
    """Scores [2100,80] and logits [2100,4,8] of BGR bytes."""
    openvino: Any = importlib.import_module("openvino")  # no dependency of the project
    model = openvino.Core().compile_model(
        str(path), "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    )

    def run(image: Pixels) -> tuple[torch.Tensor, torch.Tensor]:
        found = list(model(image.transpose(2, 0, 1)[None].astype(np.float32)).values())
        found.sort(key=lambda value: -value.shape[1])  # finest level first
        scores, edges = (np.concatenate([v for v in found if v.shape[2] == width], 1)[0] for width in (80, 32))
        return torch.from_numpy(scores), torch.from_numpy(edges).view(-1, 4, 8)

    return run


def detections(
    scores: torch.Tensor, edges: torch.Tensor, matrix: NDArray[np.float64], size: tuple[int, int], *, to_image: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes in px of the image of ``size`` (height, width), scores and labels, best first."""
    centres, strides = [], []
    for stride in (8, 16, 32):
        side = torch.arange(0.5, SIDE // stride) * stride
        y, x = torch.meshgrid(side, side, indexing="ij")
        centres.append(torch.stack([x, y], -1).reshape(-1, 2))
        strides.append(torch.full((len(centres[-1]), 1), float(stride)))
    centre, distance = torch.cat(centres), edges.softmax(-1) @ torch.arange(8.0) * torch.cat(strides)
    boxes = torch.cat([centre - distance[:, :2], centre + distance[:, 2:]], 1).clamp(0, SIDE)
    if to_image:
        corners = matrix @ np.array([[0, size[1]], [0, size[0]], [1, 1]])
        low, high = torch.from_numpy(corners.T.copy()).float().repeat(1, 2)
        boxes = boxes.maximum(low).minimum(high)
    row, label = (scores > 0.05).nonzero(as_tuple=True)
    kept = batched_nms(boxes[row], scores[row, label], label, 0.6)[:100]
    found = (boxes[row[kept]] - torch.tensor([matrix[0, 2], matrix[1, 2]] * 2)) / torch.tensor(
        [matrix[0, 0], matrix[1, 1]] * 2
    )
    limit = torch.tensor([size[1], size[0]] * 2)
    return found.clamp(min=0).minimum(limit).float(), scores[row[kept], label[kept]], label[kept]


def average_precision(
    run: Callable[[Pixels], tuple[torch.Tensor, torch.Tensor]], way: Way, root: Path
) -> tuple[float, float]:
    """AP and AP50 of all photos, by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, path in enumerate(sorted((root / "images" / "val2017").iterdir()), 1):
        image = read(path)
        high, wide = image.shape[:2]
        images.append({"id": number, "width": wide, "height": high})
        for line in (root / "object_detection/labels/val2017" / f"{path.stem}.txt").read_text().splitlines():
            label, x, y, w, h = (float(value) for value in line.split())
            box = [(x - w / 2) * wide, (y - h / 2) * high, w * wide, h * high]
            truth = {"id": len(truths) + 1, "image_id": number, "category_id": int(label), "bbox": box, "iscrowd": 0}
            truths.append(truth | {"area": box[2] * box[3]})
        pixels, matrix = way(image)
        scores, edges = run(pixels)
        boxes, scores, labels = detections(scores, edges, matrix, (high, wide), to_image=way is resized)
        for (x1, y1, x2, y2), score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            found.append({"image_id": number, "category_id": label, "bbox": box, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truths, "categories": [{"id": i} for i in range(80)]}
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(found), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0]), float(judged.stats[1])


def read(path: Path) -> Pixels:
    """BGR bytes."""
    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])


def main() -> None:
    """Write the oracle's numbers and print AP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = network(options.model)
    if options.out:
        scores, edges = run(pattern())
        stored: dict[str, Any] = {"scores": scores[CELLS].numpy(), "edges": edges[CELLS].numpy()}
        for path in sorted((options.photos / "images" / "val2017").iterdir())[:STORED]:
            image = read(path)
            pixels, matrix = resized(image)
            boxes, values, labels = detections(*run(pixels), matrix, image.shape[:2], to_image=True)
            stored[path.name] = torch.cat([boxes, values[:, None], labels[:, None]], 1).numpy()
        np.savez_compressed(options.out, **stored)
    for name, way in (("detzoo's way", resized), ("NanoDet's way", warped)):
        ap, ap50 = average_precision(run, way, options.photos)
        print(f"{name}: AP {ap:.4f}, AP50 {ap50:.4f} on 128 photos")


if __name__ == "__main__":
    main()
