"""``predict`` of the two torchvision recipes against torchvision itself, with the same weights on the same images.

    python benchmarks/ssd_speed.py [--compile] [--channels-last] [--fold] [--batch 1 8] [--threads 2] [--out FILE]

Both sides run in turn in one process; the median of each is compared, and equal detections are asserted before anything
is timed. torchvision gets float tensors that were made beforehand, detzoo the bytes of the images, so the conversion
counts against detzoo. Weights are random, scaled so that logits spread as a trained network's do: about 5,000 of the
scores of an image pass the threshold. Images are blurred noise, 480 x 640 px.
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
from typing import Any

# as in real_photographs.py: without it glibc hands large blocks back to the system after every use, for both sides
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}
if not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import torch  # noqa: E402
import torchvision  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from detzoo import build, convert_weights  # noqa: E402
from detzoo.prediction.apply_switches import apply_switches, noise  # noqa: E402
from detzoo.runtime.switches import Switches  # noqa: E402

BACKGROUND = {"ssd300_vgg16": 7.0, "ssdlite320_mobilenet_v3_large": 9.0}
"""Bias of the background's logit: a trained detector is sure of it nearly everywhere."""


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    rows = [compare(name, batch, args) for name in args.detectors for batch in args.batch]
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
    parser.add_argument("--detectors", nargs="+", default=list(BACKGROUND), choices=list(BACKGROUND))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def compare(name: str, batch: int, args: Any) -> dict[str, Any]:
    """Medians in ms of both, in turn, and their ratio."""
    images = noise(batch, (480, 640))
    tensors = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]
    theirs = seeded(name, tensors)
    ours = build(name, weights=None).eval()
    convert_weights(ours, theirs.state_dict(), source="torchvision")
    switches = Switches(compile=args.compile, channels_last=args.channels_last, fold=args.fold)
    apply_switches(ours, switches)
    with torch.inference_mode():
        found = [len(one["scores"]) for one in theirs(tensors)]
        assert [len(one) for one in ours.predict(images, channels="rgb")] == found, "not the same detections"
        times = in_turn([lambda: theirs(tensors), lambda: ours.predict(images, channels="rgb")], args.repeats)
    row = {
        "detector": name,
        "batch": batch,
        "torchvision_ms": round(times[0] * 1000, 1),
        "detzoo_ms": round(times[1] * 1000, 1),
        "ratio": round(times[0] / times[1], 2),
        "detections": found[0],
    }
    print(json.dumps(row), flush=True)
    return row


def in_turn(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each call; the first round warms up."""
    seconds: list[list[float]] = [[] for _ in calls]
    for round_ in range(repeats + 1):
        for call, taken in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            if round_:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


@torch.no_grad()
def seeded(name: str, images: list[Tensor]) -> Any:
    """torchvision's model with batch norms that know the images and predictors like trained ones."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    pixels = model.transform([*images, images[0].flip(-1)], None)[0].tensors  # two at least, for the norms of 1x1 maps
    model.train()
    model.backbone(pixels)
    model.head(list(model.backbone(pixels).values()))
    model.eval()
    for index, feature in enumerate(model.backbone(pixels).values()):
        for part, spread in ((model.head.classification_head, 1.0), (model.head.regression_head, 0.5)):
            predictor = part.module_list[index]
            last = [layer for layer in predictor.modules() if isinstance(layer, nn.Conv2d)][-1]
            last.weight.mul_(spread / predictor(feature).std())
            if part is model.head.classification_head:
                assert last.bias is not None
                last.bias.view(-1, 91)[:, 0] += BACKGROUND[name]
    return model


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
