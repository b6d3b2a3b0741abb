"""Matching and focal loss of a RetinaNet at batch 8 with 120,087 anchors per image, against torchvision's path.

    python benchmarks/focal_loss.py [--classes 91] [--batch 8] [--threads 2] [--seconds 60] [--out FILE]

Both sides get the same logits, anchors and boxes, on the CPU, and run in turn in one process; the ratio is the median
of the ratios of the pairs. Equal losses are asserted before anything is timed. Then each side runs in a process of its
own for the memory (Linux): ``peak`` is the most that was resident during forward and backward, ``before`` that with the
inputs in place, glibc's own allocator. Anchors are those of 800 x 800 px; logits are normal around -5; an image has up
to 15 boxes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rcnn_speed import CLOCKS, MALLOC, in_turn, processor, report  # type: ignore[import-not-found]

if __name__ == "__main__" and "--side" not in sys.argv and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.retinanet import RetinaNetClassificationHead
from torchvision.ops import box_iou

from detzoo.components.anchors import Grid
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.max_iou import MaxIou
from detzoo.components.normalisers import Positives
from detzoo.components.unreduced_losses import L1, Focal
from detzoo.ops.matching import matched_labels
from detzoo.types import Candidates, Targets

SIDE: Final = 800
CELLS: Final = (100, 50, 25, 13, 7)


@dataclass
class Scene:
    """Logits [B,N,K] that want a gradient, anchors, and the same boxes in both notations."""

    logits: Tensor
    anchors: Candidates
    targets: Targets
    truth: list[dict[str, Tensor]]


def scene(batch: int, classes: int) -> Scene:
    grid = Grid(
        sizes=[[32], [64], [128], [256], [512]], octave=3, octave_rounding="down", rounding="int", stride="floor"
    )
    maps = {f"s{8 << level}": torch.zeros(1, 1, cells, cells) for level, cells in enumerate(CELLS)}
    boxes, levels = grid(maps, (SIDE, SIDE))
    anchors = Candidates(boxes[None], torch.ones(1, len(boxes), dtype=torch.bool), levels)
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, len(boxes), classes, generator=source).sub_(5)
    corner = torch.rand(batch, 16, 2, generator=source) * 500
    placed = torch.cat([corner, corner + torch.rand(batch, 16, 2, generator=source) * 280 + 15], dim=-1)
    labels = torch.randint(0, classes, (batch, 16), generator=source)
    valid = torch.arange(16) < torch.randint(1, 16, (batch, 1), generator=source)
    region = torch.tensor([[0.0, 0, SIDE, SIDE]]).repeat(batch, 1)
    targets = Targets(placed * valid.unsqueeze(-1), labels, torch.zeros_like(valid), valid, region)
    rows = zip(placed, labels, valid, strict=True)
    truth = [{"boxes": box[real], "labels": label[real]} for box, label, real in rows]
    return Scene(logits.requires_grad_(), anchors, targets, truth)


def torchvisions(given: Scene) -> Callable[[], Tensor]:
    head = RetinaNetClassificationHead(8, 9, given.logits.shape[-1])
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    anchors = given.anchors.boxes[0]

    def loss() -> Tensor:
        matched = [matcher(box_iou(image["boxes"], anchors)) for image in given.truth]
        found: Tensor = head.compute_loss(given.truth, {"cls_logits": given.logits}, matched)
        return found

    return loss


def detzoos(given: Scene) -> Callable[[], Tensor]:
    matcher = MaxIou(positive_threshold=0.5, negative_threshold=0.4, low_quality="always")
    parts = MultiBox(classification=Focal(), box=L1(), normaliser=Positives(scope="image"))

    def loss() -> Tensor:
        assignment = matcher(given.anchors, given.targets)
        labels = matched_labels(given.targets, assignment)
        sums = parts.class_sums(given.logits, labels, assignment.positive | assignment.negative)
        return (sums / parts.normaliser(assignment)).sum()

    return loss


SIDES: Final = {"torchvision": torchvisions, "detzoo": detzoos}


def step(given: Scene, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward, as a training step has them."""

    def run() -> None:
        given.logits.grad = None
        torch.autograd.backward(loss())

    return run


def timed(args: Any) -> list[dict[str, Any]]:
    given = scene(args.batch, args.classes)
    theirs, ours = (side(given) for side in SIDES.values())
    torch.testing.assert_close(ours(), theirs(), rtol=1e-5, atol=0)
    size = {"batch": args.batch, "anchors": given.anchors.boxes.shape[1], "classes": args.classes}
    with torch.no_grad():
        forward = in_turn(theirs, ours, args)
    rows = [report(what="matching and loss, no gradient", **size, **forward)]
    both = in_turn(step(given, theirs), step(given, ours), args)
    return [*rows, report(what="matching, loss and backward", **size, **both)]


def memory(args: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"what": "peak memory, forward and backward", "batch": args.batch, "classes": args.classes}
    for side in SIDES:
        sizes = ["--classes", str(args.classes), "--batch", str(args.batch), "--threads", str(args.threads)]
        command = [sys.executable, __file__, "--side", side, *sizes]
        plain = {name: value for name, value in os.environ.items() if name not in MALLOC}
        done = subprocess.run(command, check=True, capture_output=True, env=plain)
        row |= {f"{side}_{key}": value for key, value in json.loads(done.stdout).items()}
    row["ratio"] = round(row["torchvision_peak_mib"] / row["detzoo_peak_mib"], 2)
    report(**row)
    return row


def measure(args: Any) -> dict[str, int]:
    given = scene(args.batch, args.classes)
    run = step(given, SIDES[args.side](given))
    before = peak()
    run()
    return {"before_mib": before, "peak_mib": peak()}


def peak() -> int:
    """MiB resident at most until now; rusage would count what the parent had when it started this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=91)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="for each row; three rounds at least")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.side:
        print(json.dumps(measure(args)))
        return
    rows = [*timed(args), memory(args)]
    result = {
        "machine": {"processor": processor(), "threads": args.threads, "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "clock": args.clock,
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
