"""YOLO's speed as ratios: v1's forward against its layers timed singly, post-processing against a path image by image.

    python benchmarks/yolo_speed.py [--threads 1] [--repeats 7] [--batch 1 8] [--out FILE]

The layers are run one after another on the inputs that the forward pass gave them, each under its own clock; the sides
take turns and medians are compared. The other post-processing is what ports of YOLO do: for each image keep the
candidates of enough objectness, score their classes, decode, and suppress with torchvision's ``batched_nms``. Both find
the same, which is asserted. Predictions are random, with objectness as sparse as a trained detector's: about 100 of the
10,647 candidates of a 416x416 input pass.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from detzoo.builder import build, build_component
from detzoo.ops.boxes import clip
from detzoo.testing.specimens import image_batch
from detzoo.types import Candidates, ImageBatch, Predictions

THRESHOLD, IOU, KEEP, CLASSES = 0.005, 0.45, 100, 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [postprocess(batch, args.repeats) for batch in args.batch]
    rows += [forward(name, args.repeats) for name in ("yolov1_darknet_voc", "yolov1_tiny_voc")]
    for row in rows:
        print(row)
    if args.out:
        versions = {"torch": torch.__version__, "threads": args.threads, "repeats": args.repeats}
        args.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def taking_turns(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median seconds of each side."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, run in sides.items():
            seconds = run()
            if turn:  # the first warms up
                found[name].append(seconds)
    return {name: statistics.median(values) for name, values in found.items()}


def clocked(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def forward(name: str, repeats: int) -> dict[str, Any]:
    """The whole network on one image against its layers."""
    detector: Any = build(name, weights=None).eval()
    batch = image_batch((448, 448), 1)
    inputs: list[tuple[nn.Module, tuple[Tensor, ...]]] = []
    network = detector.backbone.network
    hooks = [
        layer.register_forward_hook(lambda layer, given, _: inputs.append((layer, given))) for layer in network.layers
    ]
    features = detector.backbone(batch.pixels)
    for hook in hooks:
        hook.remove()
    head = clocked_head(detector, features, batch)
    seconds = taking_turns(
        {
            "forward": lambda: clocked(lambda: detector.network(batch)),
            "layers": lambda: singly(inputs) + head(),
        },
        repeats,
    )
    return {
        "what": f"forward {name}",
        "layers": len(inputs),
        **seconds,
        "ratio": seconds["forward"] / seconds["layers"],
    }


def singly(inputs: list[tuple[nn.Module, tuple[Tensor, ...]]]) -> float:
    """Seconds of all layers, each under its own clock."""
    total = 0.0
    for layer, given in inputs:
        start = time.perf_counter()
        layer(*given)
        total += time.perf_counter() - start
    return total


def clocked_head(detector: Any, features: dict[str, Tensor], batch: ImageBatch) -> Callable[[], float]:
    return lambda: clocked(lambda: detector.head(features, batch))


@torch.inference_mode()
def postprocess(count: int, repeats: int) -> dict[str, Any]:
    """The recipe's post-processing against a loop over images."""
    places, said = predictions(count)
    batch = image_batch((416, 416), count)
    part = build_component(
        "postprocess",
        {
            "type": "detections",
            "score_threshold": THRESHOLD,
            "keep": KEEP,
            "quality": "product",
            "suppress": {"type": "nms", "iou": IOU},
        },
    )
    ours = part(said, places, batch)
    for row, (boxes, scores, labels) in enumerate(image_by_image(said, places, batch)):
        valid = ours.valid[row]
        assert torch.allclose(ours.scores[row][valid], scores, atol=1e-6)
        assert torch.equal(ours.labels[row][valid], labels)
        assert torch.allclose(ours.boxes[row][valid], boxes, atol=1e-3)
    seconds = taking_turns(
        {
            "detzoo": lambda: clocked(lambda: part(said, places, batch)),
            "image by image": lambda: clocked(lambda: image_by_image(said, places, batch)),
        },
        repeats,
    )
    return {"what": f"postprocess batch {count}", **seconds, "ratio": seconds["image by image"] / seconds["detzoo"]}


def predictions(count: int) -> tuple[Candidates, Predictions]:
    """YOLOv3's candidates at 416x416, and random answers."""
    anchors = build_component(
        "anchors",
        {
            "type": "yolo_anchors",
            "sizes": [
                [[13, 10], [30, 16], [23, 33]],
                [[61, 30], [45, 62], [119, 59]],
                [[90, 116], [198, 156], [326, 373]],
            ],
        },
    )
    maps = {f"s{stride}": torch.zeros(1, 1, 416 // stride, 416 // stride) for stride in (8, 16, 32)}
    boxes, levels = anchors(maps, (416, 416))
    coder = build_component("box_coder", {"type": "yolo_anchor"})
    source = torch.Generator().manual_seed(0)
    number = len(boxes)
    said = torch.randn(count, number, 5 + CLASSES, generator=source)
    quality = said[..., 4] * 2.5 - 11
    everywhere = torch.ones(1, number, dtype=torch.bool)
    answers = Predictions(said[..., 5:] * 2 - 3, "sigmoid", said[:, :, None, :4] * 0.3, quality)
    return Candidates(boxes[None], everywhere, levels, coder), answers


def image_by_image(said: Predictions, places: Candidates, batch: ImageBatch) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Boxes, scores and labels of each image, best first."""
    assert said.quality_logits is not None
    assert said.class_logits is not None
    assert places.coder is not None
    strides, found = places.strides(), []
    for row in range(len(said.deltas)):
        objectness = said.quality_logits[row].sigmoid()
        alive = (objectness > THRESHOLD).nonzero().squeeze(1)
        scores = objectness[alive].unsqueeze(1) * said.class_logits[row, alive].sigmoid()
        candidate, label = (scores > THRESHOLD).nonzero(as_tuple=True)
        chosen = alive[candidate]
        boxes = places.coder.decode(said.deltas[row, chosen, 0], places.boxes[0, chosen], strides[chosen])
        boxes, values = clip(boxes, batch.region[row]), scores[candidate, label]
        kept = batched_nms(boxes, values, label, IOU)[:KEEP]
        found.append((boxes[kept], values[kept], label[kept]))
    return found


if __name__ == "__main__":
    main()
