"""SSD's post-processing, and its matching with the multibox loss, against torchvision's on the same tensors.

    python benchmarks/ssd_postprocess_and_loss.py [--threads 2] [--repeats 9] [--device cpu]

Both sides run in turn in one process; the median of each is compared. Results are asserted equal before anything is
timed. Inputs: 8,732 priors of SSD300, 90 classes, random logits of three kinds: `trained` (mostly background, 60 spots
that fire), `random` (normal, sd 3: 92,000 scores above the threshold in each image) and `flat` (sd 1: 273,000).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from detzoo.components.box_coders import CentreSize
from detzoo.components.losses.multibox import MultiBox
from detzoo.components.matchers.ssd_bipartite import SsdBipartite
from detzoo.components.miners import HardNegative
from detzoo.components.normalisers import Positives
from detzoo.components.postprocess.detections import PerClassDetections
from detzoo.components.suppress import Nms
from detzoo.components.unreduced_losses import CrossEntropy, SmoothL1
from detzoo.types import Candidates, ImageBatch, Predictions, Targets

PRIORS, COLUMNS = 8732, 91


def outputs(batch: int, kind: str, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(batch, PRIORS, COLUMNS, generator=generator) * (3 if kind == "random" else 1)
    if kind == "trained":
        logits[..., 0] += 8
        for image in range(batch):
            for place in torch.randint(8, PRIORS - 8, (60,), generator=generator).tolist():
                label = int(torch.randint(1, COLUMNS, (1,), generator=generator))
                logits[image, place - 8 : place + 8, label] += 9
    return logits.to(device), (torch.randn(batch, PRIORS, 4, generator=generator) * 0.5).to(device)


def objects(batch: int, device: str) -> tuple[list[dict[str, Tensor]], Targets]:
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(batch, 16, 2, generator=generator) * 200
    boxes = torch.cat([corner, corner + torch.rand(batch, 16, 2, generator=generator) * 90 + 8], dim=-1)
    labels = torch.randint(0, COLUMNS - 1, (batch, 16), generator=generator)
    valid = torch.arange(16) < torch.randint(1, 9, (batch, 1), generator=generator)
    region = torch.tensor([[0.0, 0, 300, 300]]).repeat(batch, 1)
    targets = Targets(boxes * valid.unsqueeze(-1), labels, torch.zeros_like(valid), valid, region).to(device)
    rows = zip(targets.boxes, targets.labels, targets.valid, strict=True)
    return [{"boxes": box[real], "labels": label[real] + 1} for box, label, real in rows], targets


def compare(theirs: Callable[[], Any], ours: Callable[[], Any], repeats: int, device: str) -> dict[str, float]:
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for side, call in enumerate((theirs, ours)):
            start = time.perf_counter()
            call()
            if device != "cpu":
                torch.cuda.synchronize()
            if turn:
                times[side].append(time.perf_counter() - start)
    a, b = (statistics.median(side) * 1e3 for side in times)
    return {"torchvision_ms": round(a, 2), "detzoo_ms": round(b, 2), "ratio": round(a / b, 2)}


def report(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def scene(device: str) -> tuple[Any, Tensor, Candidates]:
    model = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=COLUMNS)
    maps = [torch.zeros(1, 1, side, side, device=device) for side in (38, 19, 10, 5, 3, 1)]
    anchors = model.anchor_generator(ImageList(torch.zeros(1, 3, 300, 300, device=device), [(300, 300)]), maps)[0]
    candidates = Candidates(anchors[None], torch.ones(1, PRIORS, dtype=torch.bool, device=device), coder=CentreSize())
    return model, anchors, candidates


def postprocessing(repeats: int, device: str) -> None:
    model, anchors, candidates = scene(device)
    post = PerClassDetections(suppress=Nms(iou=0.45), score_threshold=0.01, per_class_top_k=400, keep=200)
    for kind in ("trained", "random", "flat"):
        for batch in (1, 8):
            logits, deltas = outputs(batch, kind, device)
            shape = torch.tensor([[0.0, 0, 300, 300]], device=device).repeat(batch, 1)
            size, index = torch.full((batch, 2), 300), torch.arange(batch)
            images = ImageBatch(torch.zeros(batch, 3, 1, 1), shape, size, torch.ones(batch, 2), index)
            predictions = Predictions(logits, "softmax", deltas.unsqueeze(2))

            def theirs(logits: Tensor = logits, deltas: Tensor = deltas, batch: int = batch) -> Any:
                with torch.no_grad():
                    head = {"bbox_regression": deltas, "cls_logits": logits}
                    return model.postprocess_detections(head, [anchors] * batch, [(300, 300)] * batch)

            def ours(predictions: Predictions = predictions, images: ImageBatch = images) -> Any:
                return post(predictions, candidates, images)

            found = ours()
            for image, expected in enumerate(theirs()):
                count = len(expected["scores"])
                assert int(found.valid[image].sum()) == count
                assert torch.equal(found.scores[image, :count], expected["scores"])
            report(what="postprocess", input=kind, batch=batch, **compare(theirs, ours, repeats, device))


def loss_with_matching(repeats: int, device: str) -> None:
    model, anchors, candidates = scene(device)
    logits, deltas = (t.requires_grad_() for t in outputs(32, "flat", device))
    truth, targets = objects(32, device)
    loss = MultiBox(classification=CrossEntropy(), box=SmoothL1(), miner=HardNegative(), normaliser=Positives())
    predictions = Predictions(logits, "softmax", deltas.unsqueeze(2))

    def their_loss() -> Any:
        matched = [model.proposal_matcher(box_iou(image["boxes"], anchors)) for image in truth]
        return model.compute_loss(truth, {"bbox_regression": deltas, "cls_logits": logits}, [anchors] * 32, matched)

    for tie in ("last_write_wins", "bipartite"):
        matcher = SsdBipartite(tie=tie)

        def our_loss(matcher: SsdBipartite = matcher) -> dict[str, Tensor]:
            return loss(predictions, candidates, targets, matcher(candidates, targets))

        if tie == "last_write_wins":
            torch.testing.assert_close(our_loss()["box"], their_loss()["bbox_regression"])
            torch.testing.assert_close(our_loss()["classification"], their_loss()["classification"])

        def both(call: Callable[[], Any]) -> None:
            logits.grad = deltas.grad = None
            torch.autograd.backward(list(call().values()))

        pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "match+loss": (their_loss, our_loss),
            "match+loss+backward": (partial(both, their_loss), partial(both, our_loss)),
        }
        for what, (theirs, ours) in pairs.items():
            report(what=what, input=tie, batch=32, **compare(theirs, ours, repeats, device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report(**vars(options), torch=torch.__version__, torchvision=torchvision.__version__)
    postprocessing(options.repeats, options.device)
    loss_with_matching(options.repeats, options.device)


if __name__ == "__main__":
    main()
