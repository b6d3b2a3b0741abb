"""Suppression alone against torchvision's, on what is easy and on the worst there is.

    python benchmarks/suppression.py [--threads 2] [--clock wall] [--out docs/results/speed/suppression.json]

The same boxes, scores and classes for both; that both keep the same is asserted before anything is timed. torchvision's
is ``batched_nms`` of each image in turn, as its detectors call it. Both run in turn in one process, and which comes
first changes from turn to turn; medians. ``--clock cpu`` counts processor seconds of the process: for a machine that
others use too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
import torchvision
from torch import Tensor
from torchvision.ops import batched_nms

from detzoo.ops.nms import nms_keep

CLASSES: Final = 90
Boxes = tuple[Tensor, Tensor, Tensor]
"""Of one image: boxes [N,4], scores [N], classes [N]."""


def anywhere(count: int, generator: torch.Generator, *, side: float = 320.0, largest: float = 120.0) -> Tensor:
    """Boxes of all sizes, anywhere in an image."""
    corner = torch.rand(count, 2, generator=generator) * side
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * largest + 2], dim=1)


def equal_scores(generator: torch.Generator) -> Boxes:
    boxes = anywhere(3000, generator)
    return boxes, torch.full((3000,), 0.5), torch.randint(0, CLASSES, (3000,), generator=generator)


def one_box(generator: torch.Generator) -> Boxes:
    return torch.tensor([[10.0, 10, 90, 70]]).repeat(3000, 1), torch.rand(3000, generator=generator), torch.zeros(3000)


def disjoint(generator: torch.Generator) -> Boxes:
    y, x = torch.meshgrid(torch.arange(60), torch.arange(50), indexing="ij")
    corner = torch.stack([x, y], -1).reshape(-1, 2) * 10.0
    return torch.cat([corner, corner + 8], 1), torch.rand(3000, generator=generator), torch.zeros(3000)


def one_class(generator: torch.Generator) -> Boxes:
    boxes = anywhere(12_000, generator, side=1200.0, largest=200.0)
    return boxes, torch.rand(12_000, generator=generator), torch.zeros(12_000)


def every_class(generator: torch.Generator) -> Boxes:
    """300 boxes of each of 90 classes: an untrained detector's."""
    label = torch.arange(CLASSES).repeat_interleave(300)
    return anywhere(len(label), generator), torch.rand(len(label), generator=generator), label


def crowd(generator: torch.Generator) -> Boxes:
    """The same where all overlap: boxes of the whole image, moved a little."""
    label = torch.arange(CLASSES).repeat_interleave(300)
    moved = torch.randn(len(label), 4, generator=generator) * 12
    return torch.tensor([0.0, 0, 320, 320]) + moved, torch.rand(len(label), generator=generator), label


def trained(generator: torch.Generator) -> Boxes:
    """12 objects, some 25 boxes about each, and 100 of little score anywhere."""
    around = anywhere(12, generator).repeat_interleave(25, dim=0) + torch.randn(300, 4, generator=generator) * 4
    around[:, 2:] = torch.maximum(around[:, 2:], around[:, :2] + 1)
    label = torch.randint(0, CLASSES, (12,), generator=generator).repeat_interleave(25)
    boxes = torch.cat([around, anywhere(100, generator)])
    label = torch.cat([label, torch.randint(0, CLASSES, (100,), generator=generator)])
    return boxes, torch.rand(400, generator=generator), label


INPUTS: Final[dict[str, Callable[[torch.Generator], Boxes]]] = {
    "3,000 equal scores, 90 classes": equal_scores,
    "3,000 times one box": one_box,
    "3,000 disjoint boxes": disjoint,
    "12,000 boxes of one class": one_class,
    "300 boxes of each of 90 classes": every_class,
    "the same, all overlapping": crowd,
    "trained: 12 objects, 400 boxes": trained,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--iou", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    rows = []
    for name, make in INPUTS.items():
        for count in (1, 8):
            images = [sorted_by_score(make(torch.Generator().manual_seed(seed))) for seed in range(count)]
            rows.append({"input": name, "batch": count} | compared(images, args.iou, clock, args.repeats))
            print(json.dumps(rows[-1]), flush=True)
    if args.out is not None:
        about = {"threads": args.threads, "clock": args.clock, "torch": torch.__version__}
        about["torchvision"] = torchvision.__version__
        args.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


def sorted_by_score(image: Boxes) -> Boxes:
    """Best first, as post-processing hands them over, whichever library it is."""
    boxes, scores, label = image
    order = scores.argsort(descending=True, stable=True)
    return boxes[order], scores[order], label[order].long()


def compared(images: list[Boxes], iou: float, clock: Callable[[], float], repeats: int) -> dict[str, float]:
    """Median seconds of both sides; what they keep is equal."""
    together = [torch.stack(parts) for parts in zip(*images, strict=True)]

    def theirs() -> list[Tensor]:
        return [batched_nms(boxes, scores, label, iou) for boxes, scores, label in images]

    def ours() -> Tensor:
        return nms_keep(together[0], together[1], together[2], iou=iou)

    for kept, expected, (boxes, _, label) in zip(ours(), theirs(), images, strict=True):
        if not torch.equal(kept.nonzero().squeeze(1), expected.sort().values):
            # batched_nms moves the classes of up to 4,000 numbers apart before it compares, which costs it exactness
            exact = torch.zeros_like(kept)
            for one in range(CLASSES):
                rows = (label == one).nonzero().squeeze(1)
                falling = torch.arange(len(rows), 0, -1, dtype=torch.float32)
                exact[rows[torchvision.ops.nms(boxes[rows], falling, iou)]] = True
            assert torch.equal(kept, exact)
    sides, times = (theirs, ours), ([], [])  # type: tuple[Callable[[], object], ...], tuple[list[float], list[float]]
    for turn in range(repeats + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            start = clock()
            sides[side]()
            if turn:
                times[side].append(clock() - start)
    a, b = (statistics.median(one) * 1e3 for one in times)
    return {"torchvision_ms": round(a, 3), "detzoo_ms": round(b, 3), "ratio": round(a / b, 2)}


if __name__ == "__main__":
    main()
