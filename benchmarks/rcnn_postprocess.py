"""Regions, detections and the RPN's training cost of a Faster R-CNN, against torchvision's on the same tensors.

    python benchmarks/rcnn_postprocess.py [--batch 1 8] [--threads 2] [--repeats 7] [--clock wall] [--out FILE]

Both sides run in turn in one process; the ratio is the median of the ratios of the pairs. Results are asserted equal
before anything is timed. The numbers are those of ``fasterrcnn_resnet50_fpn``: 268,569 anchors on five maps of an
image of 800 x 1333 px, 1,000 regions, 91 classes.

- ``regions``: decoding, the best of each level, suppression, the best overall (torchvision decodes every anchor first).
- ``detections``: 1,000 regions to 100 detections (``RoIHeads.postprocess_detections``).
- ``rpn loss``: matching, sampling and loss of the anchors of 2 images with 8 objects each, and the backward pass. The
  samples are drawn at random on both sides; the labels before sampling are asserted equal.

Inputs: ``trained`` is mostly background with a few places that fire, whose boxes crowd around objects; ``random`` is
normal logits. ``--clock cpu`` takes processor time instead, for a machine that others use too: give it one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from detzoo.builder import build
from detzoo.ops.box_coder import encode_centre_size
from detzoo.types import Candidates, ImageBatch, Predictions, Targets

NAME = "fasterrcnn_resnet50_fpn"
IMAGE, PADDED = (800, 1333), (800, 1344)
MAPS = ((200, 336), (100, 168), (50, 84), (25, 42), (13, 21))
REGIONS, COLUMNS, OBJECTS = 1000, 91, 8
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    scene = Scene(args.device)
    rows = []
    for batch in args.batch:
        for kind in ("trained", "random"):
            for what, pair in (("regions", regions), ("detections", detections)):
                with torch.inference_mode():
                    times = in_turn(*pair(scene, batch, kind), args)
                rows.append(report(what=what, input=kind, batch=batch, **times))
    for what, step in (("rpn loss", rpn_loss), ("rpn loss and backward", rpn_loss_backward)):
        rows.append(report(what=what, input="random", batch=2, **in_turn(*step(scene, 2), args)))
    if args.out:
        about = {"torch": torch.__version__, "torchvision": torchvision.__version__, "machine": platform.machine()}
        settings = {"threads": args.threads, "clock": args.clock, "device": args.device, "repeats": args.repeats}
        args.out.write_text(json.dumps({**about, **settings, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


class Scene:
    """Both detectors without weights, and the anchors that they share."""

    def __init__(self, device: str) -> None:
        self.device = device
        detector: Any = build(NAME, weights=None)
        self.ours = detector.to(device).eval()
        self.theirs: Any = torchvision.models.get_model(NAME, weights=None, weights_backbone=None).to(device).eval()
        head: Any = self.ours.proposals.head
        maps = {name: torch.zeros(1, 1, *size, device=device) for name, size in zip(head.names, MAPS, strict=True)}
        self.anchors, self.levels = head.anchors(maps, PADDED)
        images = ImageList(torch.zeros(1, 3, *PADDED, device=device), [IMAGE])
        assert torch.equal(self.anchors, self.theirs.rpn.anchor_generator(images, list(maps.values()))[0])
        valid = torch.ones(1, len(self.anchors), dtype=torch.bool, device=device)
        self.candidates = Candidates(self.anchors[None], valid, levels=self.levels, coder=head.coder)

    def batch(self, count: int) -> ImageBatch:
        """As many images, without their pixels."""
        region = torch.tensor([[0.0, 0, IMAGE[1], IMAGE[0]]], device=self.device).repeat(count, 1)
        size = torch.tensor([IMAGE], device=self.device).repeat(count, 1)
        pixels = torch.zeros(count, 3, 1, 1, device=self.device)
        return ImageBatch(pixels, region, size, torch.ones(count, 2, device=self.device), torch.arange(count))

    def objects(self, count: int, seed: int = 3) -> Tensor:
        """float [B,OBJECTS,4]: boxes of 24 to 400 px."""
        generator = torch.Generator().manual_seed(seed)
        side = 24 * 2 ** (torch.rand(count, OBJECTS, 2, generator=generator) * 4)
        limit = torch.tensor([IMAGE[1], IMAGE[0]])
        corner = torch.rand(count, OBJECTS, 2, generator=generator) * (limit - side)
        return torch.cat([corner, corner + side], dim=-1).to(self.device)

    def rpn_outputs(self, batch: int, kind: str) -> tuple[Tensor, Tensor]:
        """Logits [B,N,1] and deltas [B,N,4]."""
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(batch, len(self.anchors), 1, generator=generator).to(self.device)
        deltas = (torch.randn(batch, len(self.anchors), 4, generator=generator) * 0.1).to(self.device)
        if kind == "trained":
            for image, boxes in enumerate(self.objects(batch)):
                overlap, which = torchvision.ops.box_iou(self.anchors, boxes).max(dim=1)
                near = overlap > 0.3
                aim = encode_centre_size(boxes[which[near]], self.anchors[near], (1, 1, 1, 1))
                deltas[image, near] += aim
                logits[image, :, 0] += overlap * 12 - 8
        return logits, deltas


def regions(scene: Scene, batch: int, kind: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    logits, deltas = scene.rpn_outputs(batch, kind)
    rpn, post = scene.theirs.rpn, scene.ours.proposals.postprocess
    counts = [level.count for level in scene.levels]
    predictions = Predictions(logits, "sigmoid", deltas.unsqueeze(2))
    images = scene.batch(batch)

    def theirs() -> Any:
        proposals = rpn.box_coder.decode(deltas.flatten(0, 1), [scene.anchors] * batch).view(batch, -1, 4)
        return rpn.filter_proposals(proposals, logits, [IMAGE] * batch, counts)

    def ours() -> Any:
        return post(predictions, scene.candidates, images)

    found = ours()
    for image, (boxes, scores) in enumerate(zip(*theirs(), strict=True)):
        assert int(found.valid[image].sum()) == len(scores) > 0
        assert torch.equal(found.scores[image, : len(scores)], scores)
        # regions of one score may change places, so each coordinate is compared in its own order
        mine = found.boxes[image, : len(scores)].sort(dim=0).values
        torch.testing.assert_close(mine, boxes.sort(dim=0).values, atol=1e-2, rtol=0)
    return theirs, ours


def detections(scene: Scene, batch: int, kind: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(batch, REGIONS, COLUMNS, generator=generator).to(scene.device)
    near = (torch.randn(batch, REGIONS, 4, generator=generator) * 6).to(scene.device)
    truth = scene.objects(batch).repeat(1, REGIONS // OBJECTS, 1)
    boxes = torchvision.ops.clip_boxes_to_image(truth + near, IMAGE)
    if kind == "trained":  # a third of the regions shows an object of a class or two, the others background
        logits[..., 0] += 9
        labels = torch.arange(REGIONS, device=scene.device) % OBJECTS + 1
        logits[:, torch.arange(REGIONS // 3), labels[: REGIONS // 3]] += 10
    deltas = (torch.randn(batch, REGIONS, COLUMNS, 4, generator=generator) * 0.3).to(scene.device)
    heads, box = scene.theirs.roi_heads, scene.ours.box
    valid = torch.ones(batch, REGIONS, dtype=torch.bool, device=scene.device)
    rois = Candidates(boxes, valid, coder=box.head.coder)
    predictions = Predictions(logits, "softmax", deltas[:, :, 1:].contiguous())
    images = scene.batch(batch)

    def theirs() -> Any:
        shapes = [IMAGE] * batch
        return heads.postprocess_detections(logits.flatten(0, 1), deltas.view(-1, COLUMNS * 4), list(boxes), shapes)

    def ours() -> Any:
        return scene.ours.postprocess(predictions, rois, images)

    found = ours()
    for image, (where, scores, labels) in enumerate(zip(*theirs(), strict=True)):
        assert int(found.valid[image].sum()) == len(scores) > 0
        assert torch.equal(found.scores[image, : len(scores)], scores)
        torch.testing.assert_close(found.boxes[image, : len(scores)], where, atol=1e-2, rtol=0)
        assert torch.equal(found.labels[image, : len(scores)] + 1, labels)
    return theirs, ours


def rpn_loss(scene: Scene, batch: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    logits, deltas = (part.requires_grad_() for part in scene.rpn_outputs(batch, "random"))
    boxes = scene.objects(batch)
    rpn, stage = scene.theirs.rpn, scene.ours.proposals
    truth = [{"boxes": image} for image in boxes]
    room = torch.zeros(batch, 16 - OBJECTS, 4, device=scene.device)
    valid = torch.arange(16, device=scene.device).expand(batch, 16) < OBJECTS
    zeros = torch.zeros_like(valid)
    targets = Targets(torch.cat([boxes, room], dim=1), zeros.long(), zeros, valid, scene.batch(batch).region)
    predictions = Predictions(logits, "sigmoid", deltas.unsqueeze(2))
    anchors = [scene.anchors] * batch

    def theirs() -> Any:
        labels, matched = rpn.assign_targets_to_anchors(anchors, truth)
        goals = rpn.box_coder.encode(matched, anchors)
        return rpn.compute_loss(logits.flatten(0, 1), deltas.flatten(0, 1), labels, goals)

    def ours() -> Any:
        assignment = stage.sampler(stage.matcher(scene.candidates, targets, predictions))
        return tuple(stage.loss(predictions, scene.candidates, targets, assignment).values())

    index = stage.matcher(scene.candidates, targets, predictions).index
    for image, labels in enumerate(rpn.assign_targets_to_anchors(anchors, truth)[0]):
        assert torch.equal(index[image].clamp(max=0), torch.where(labels > 0, 0, (-1 - (labels < 0).long())))
    return theirs, ours


def rpn_loss_backward(scene: Scene, batch: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    theirs, ours = rpn_loss(scene, batch)
    return lambda: torch.autograd.backward(theirs()), lambda: torch.autograd.backward(ours())


def in_turn(theirs: Callable[[], Any], ours: Callable[[], Any], args: Any) -> dict[str, float]:
    """Medians in ms, and of the ratio of neighbours; the first round warms up."""
    clock = CLOCKS[args.clock]
    rounds: list[list[float]] = []
    for _ in range(args.repeats + 1):
        taken = []
        for call in (theirs, ours):
            start = clock()
            call()
            if args.device != "cpu":
                torch.cuda.synchronize()
            taken.append((clock() - start) * 1000)
        rounds.append(taken)
    a, b = (statistics.median(side) for side in zip(*rounds[1:], strict=True))
    ratio = statistics.median(one / other for one, other in rounds[1:])
    return {"torchvision_ms": round(a, 1), "detzoo_ms": round(b, 1), "ratio": round(ratio, 2)}


def report(**row: Any) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
