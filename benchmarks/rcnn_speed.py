"""``predict`` and a training step of two torchvision recipes against torchvision itself, with the same weights.

    python benchmarks/rcnn_speed.py [--compile] [--channels-last] [--fold] [--batch 1 8] [--train] [--out FILE]

Both sides run in turn in one process, torchvision eagerly; the ratio is the median of the ratios of the pairs. Equal
numbers of detections are asserted before anything is timed. torchvision gets float tensors that were made beforehand,
detzoo the bytes of the images, so the conversion counts against detzoo; in training both get network pixels' sources.
Weights are random, scaled so that scores differ as a trained network's do. Batch norms are frozen on both sides, as in
torchvision's published models. Images are blurred noise, 480 x 640 px, which is 800 x 1066 px for ResNet-50.
``--train`` times forward, backward and an SGD step at batch 2 in place of ``predict``. ``--clock cpu`` takes processor
time, for a machine that others use too: give it one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# as in ssd_speed.py: without it glibc hands large blocks back to the system after every use, for both sides
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
if __name__ == "__main__" and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from detzoo import build, convert_weights  # noqa: E402
from detzoo.prediction.apply_switches import apply_switches, noise  # noqa: E402
from detzoo.prediction.prepare import collate  # noqa: E402
from detzoo.runtime.switches import Switches  # noqa: E402
from detzoo.testing.parity import freeze_norms, spread  # noqa: E402
from detzoo.types import Sample  # noqa: E402

FROZEN_EPS: Final = {"fasterrcnn_resnet50_fpn": 0.0, "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5}
CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.process_time}
BACKGROUND: Final = 5.0
"""Bias of the background's logit: a trained detector is sure of it nearly everywhere."""


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.detectors:
        theirs, ours = pair(name)
        apply_switches(ours, Switches(compile=args.compile, channels_last=args.channels_last, fold=args.fold))
        if args.train:
            rows.append(report(detector=name, what="training step", batch=2, **train(theirs, ours, args)))
            continue
        for batch in args.batch:
            rows.append(report(detector=name, what="predict", batch=batch, **predict(theirs, ours, batch, args)))
    result = {
        "machine": {"processor": processor(), "threads": args.threads, "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "switches": {"compile": args.compile, "channels_last": args.channels_last, "fold": args.fold},
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=list(FROZEN_EPS), choices=list(FROZEN_EPS))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40, help="for each row; three rounds at least")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def pair(name: str) -> tuple[Any, Any]:
    """torchvision's model and detzoo's with the same weights."""
    theirs = seeded(name, [as_tensor(image) for image in noise(2, (480, 640))])
    ours = build(name, weights=None).eval()
    convert_weights(ours, theirs.state_dict(), source="torchvision")
    return theirs, ours


def predict(theirs: Any, ours: Any, batch: int, args: Any) -> dict[str, Any]:
    images = noise(batch, (480, 640))
    tensors = [as_tensor(image) for image in images]
    with torch.inference_mode():
        found = [len(one["scores"]) for one in theirs(tensors)]
        mine = [len(one) for one in ours.predict(images, channels="rgb")]
        # compiled and folded networks round otherwise, which may move a score across the threshold
        assert all(abs(a - b) <= (args.compile or args.fold) for a, b in zip(found, mine, strict=True)), (found, mine)
        return in_turn(lambda: theirs(tensors), lambda: ours.predict(images, channels="rgb"), args) | {
            "detections": found[0]
        }


def train(theirs: Any, ours: Any, args: Any) -> dict[str, Any]:
    images = noise(2, (480, 640))
    return in_turn(their_step(theirs, images), our_step(ours, images), args)


BOXES: Final = np.array([[20, 30, 200, 220], [300, 100, 420, 380], [500, 20, 560, 70]], np.float32)
LABELS: Final = np.array([0, 3, 8])


def their_step(model: Any, images: list[Any]) -> Callable[[], None]:
    """One training step of torchvision's model."""
    tensors = [as_tensor(image) for image in images]
    truth = [{"boxes": torch.from_numpy(BOXES), "labels": torch.from_numpy(LABELS) + 1} for _ in images]
    trainable(model)
    optimizer = torch.optim.SGD([p for p in model.train().parameters() if p.requires_grad], lr=0.0)
    return lambda: descend(model(tensors, truth), optimizer)


def our_step(detector: Any, images: list[Any]) -> Callable[[], None]:
    """The same of detzoo's; images are prepared every time, as torchvision's model prepares its own."""
    none = np.zeros(len(LABELS), bool)
    samples = [Sample(image, BOXES, LABELS, none, none, i, str(i)) for i, image in enumerate(images)]
    optimizer = torch.optim.SGD([p for p in detector.train().parameters() if p.requires_grad], lr=0.0)
    return lambda: descend(detector.losses(*collate(samples, detector.input)), optimizer)


def descend(losses: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(list(losses.values()))
    optimizer.step()


def runner(name: str, side: str, what: str, state: dict[str, Tensor], images: list[Any]) -> Callable[[], Any]:
    """``predict`` or a training step of one side alone."""
    if side == "detzoo":
        ours = build(name, weights=None).eval()
        convert_weights(ours, state, source="torchvision")
        return our_step(ours, images) if what == "train" else lambda: ours.predict(images, channels="rgb")
    theirs: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    freeze_norms(theirs.backbone.body, FROZEN_EPS[name])
    theirs.load_state_dict(state)
    if what == "train":
        return their_step(theirs, images)
    tensors = [as_tensor(image) for image in images]
    return torch.inference_mode()(lambda: theirs(tensors))


def trainable(model: Any) -> None:
    """Freeze what torchvision's builders freeze around pretrained weights: the recipes freeze the same."""
    body = model.backbone.body
    frozen = ("conv1", "layer1") if hasattr(body, "layer1") else tuple(f"{i}." for i in range(7))
    for name, parameter in body.named_parameters():
        if name.startswith(frozen):
            parameter.requires_grad_(False)


def in_turn(theirs: Callable[[], Any], ours: Callable[[], Any], args: Any) -> dict[str, Any]:
    """Medians in ms, and of the ratio of neighbours; the first round warms up."""
    clock = CLOCKS[args.clock]
    rounds: list[list[float]] = []
    begin = time.perf_counter()
    while len(rounds) < 4 or (len(rounds) < 16 and time.perf_counter() - begin < args.seconds):
        taken = []
        for call in (theirs, ours):
            start = clock()
            call()
            taken.append((clock() - start) * 1000)
        rounds.append(taken)
    a, b = (statistics.median(side) for side in zip(*rounds[1:], strict=True))
    ratio = statistics.median(one / other for one, other in rounds[1:])
    return {"torchvision_ms": round(a), "detzoo_ms": round(b), "ratio": round(ratio, 2), "rounds": len(rounds) - 1}


@torch.no_grad()
def seeded(name: str, images: list[Tensor]) -> Any:
    """torchvision's model with frozen batch norms that know the images, and predictors like trained ones."""
    torch.manual_seed(0)
    model: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    for part, norm in model.backbone.body.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
            if part.endswith(("bn3", "block.2.1", "block.3.1")):
                norm.weight.mul_(0.2)  # small steps: else 50 random layers amplify rounding
    batch = model.transform(images, None)[0]
    model.train()
    model.backbone(batch.tensors)
    model.eval()
    freeze_norms(model.backbone.body, FROZEN_EPS[name])
    features = model.backbone(batch.tensors)
    head = model.rpn.head
    seen = [head.conv(one) for one in features.values()]
    spread(head.cls_logits, seen, 1.0)
    spread(head.bbox_pred, seen, 0.2)
    regions, _ = model.rpn(batch, features)
    heads = model.roi_heads
    pooled = heads.box_roi_pool(features, [boxes[:60] for boxes in regions], batch.image_sizes)
    seen = [heads.box_head(pooled)]
    spread(heads.box_predictor.cls_score, seen, 1.8)
    spread(heads.box_predictor.bbox_pred, seen, 0.4)
    heads.box_predictor.cls_score.bias[0] += BACKGROUND
    return model


def as_tensor(image: Any) -> Tensor:
    """float [3,H,W] in 0..1."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(**row: Any) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
