"""YOLOX against LibreYOLO's, with the same seeded weights: raw outputs, losses, gradients; and the time of the losses.

    python -m venv other && other/bin/pip install detzoo detzoo-yolox
    other/bin/pip install --no-deps libreyolo==1.6.0
    other/bin/python benchmarks/yolox_against_libreyolo.py [--out FILE] [--onnx FILE] [--repeats 9]

LibreYOLO (MIT) is a port of Megvii's code, whose layer names it keeps; its networks alone need no other package.
Agreement is measured in float64 in training mode, L1 on. What is left are the soft class targets, which LibreYOLO
computes in float32.

Times: the sides take turns, the first turn warms up, medians are compared; 640 px, 8 images, 20 objects each, YOLOX-S.
``--onnx`` also times the file's network in onnxruntime against ours, eager, with folded norms and compiled: 416 px, one
image, as many threads on either side.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import detzoo
from detzoo.interfaces import Detector
from detzoo.testing import image_batch
from detzoo.types import ImageBatch, Targets

PAIRS = {"n": "yolox_nano_coco", "s": "yolox_s_coco"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--onnx", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [agreement(size, name) for size, name in PAIRS.items()]
    rows.append(times_of_losses(args.repeats))
    if args.onnx:
        rows += times_of_networks(args.onnx, args.threads, args.repeats)
    for row in rows:
        print(json.dumps(row))
    if args.out:
        versions = {"torch": torch.__version__, "libreyolo": "1.6.0", "threads": args.threads}
        args.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def models(size: str, name: str) -> tuple[Any, Detector]:
    """LibreYOLO's model with seeded weights and lively norms, and ours with the same."""
    from libreyolo.models.yolox.nn import LibreYOLOXModel  # type: ignore[import-not-found]

    torch.manual_seed(0)
    theirs = LibreYOLOXModel(size)
    theirs.init_weights()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    ours = detzoo.build(name, weights=None)
    detzoo.convert_weights(ours, theirs.state_dict(), source="yolox")
    return theirs, ours


def scene(images: int, side: int, objects: int) -> tuple[ImageBatch, Targets, Tensor]:
    """Noise, ground truth, and the same ground truth as LibreYOLO takes it: [B,M,5] of class, cx, cy, w, h."""
    draw = torch.Generator().manual_seed(0)
    batch = image_batch(images, size=(side, side))
    batch = dataclasses.replace(batch, pixels=torch.rand(batch.pixels.shape, generator=draw) * 255)
    corner = torch.rand(images, objects, 2, generator=draw) * side * 0.7
    boxes = torch.cat([corner, corner + 4 + torch.rand(images, objects, 2, generator=draw) * side * 0.3], -1)
    labels = torch.randint(0, 80, (images, objects), generator=draw)
    no, yes = torch.zeros_like(labels, dtype=torch.bool), torch.ones_like(labels, dtype=torch.bool)
    targets = Targets(boxes, labels, no, yes, batch.region, progress=torch.tensor(1.0))
    middle, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    return batch, targets, torch.cat([labels[..., None].float(), middle, sides], -1)


def agreement(size: str, name: str) -> dict[str, Any]:
    theirs, ours = models(size, name)
    theirs, ours = theirs.double(), ours.double()
    batch, targets, rows = scene(2, 256, 6)
    pixels = batch.pixels.double()
    batch = dataclasses.replace(batch, pixels=pixels)
    targets = dataclasses.replace(targets, boxes=targets.boxes.double())
    with torch.no_grad():
        raw = torch.cat([one.flatten(2).transpose(1, 2) for one in theirs.eval()(pixels)], 1)
        _, found = ours.eval().network(batch)
    assert found.class_logits is not None
    said = torch.cat(
        [found.deltas[:, :, 0], found.quality_logits[..., None].sigmoid(), found.class_logits.sigmoid()], -1
    )
    theirs.train().head.use_l1 = True
    expected = theirs(pixels, rows.double())
    terms = ours.train().losses(batch, targets)
    expected["total_loss"].backward()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    pairs = {"box": "iou_loss", "classification": "cls_loss", "objectness": "obj_loss", "late_box": "l1_loss"}
    return {
        "what": f"agreement {name}",
        "raw outputs": float((raw - said).abs().max()),
        "losses": {ours: abs(float(terms[ours]) - float(expected[other])) for ours, other in pairs.items()},
        "gradients, relative": worst_gradient(theirs, ours, name),
    }


def worst_gradient(theirs: nn.Module, ours: Detector, name: str) -> float:
    """Largest difference of a parameter's gradients, relative to the largest of the parameter."""
    gradients = {key: parameter.grad for key, parameter in theirs.named_parameters() if parameter.grad is not None}
    state = {key: gradients.get(key, torch.zeros_like(value)) for key, value in theirs.state_dict().items()}
    other = detzoo.build(name, weights=None).double()
    detzoo.convert_weights(other, state, source="yolox")
    expected = dict(other.named_parameters())
    worst = 0.0
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        scale = float(parameter.grad.abs().max()) or 1.0
        worst = max(worst, float((expected[key].detach() - parameter.grad).abs().max()) / scale)
    return worst


def times_of_losses(repeats: int) -> dict[str, Any]:
    """SimOTA and the loss, forward and backward, from ready predictions."""
    theirs, ours = models("s", "yolox_s_coco")
    batch, targets, rows = scene(8, 640, 20)
    theirs.train().head.use_l1 = True
    ours.train()
    with torch.no_grad():
        maps = theirs.backbone(batch.pixels)
        outputs, x, y, strides, origin = theirs.head.forward_train_maps(maps)
        candidates, predictions = ours.network(batch)

    def libreyolo() -> None:
        given = [outputs.clone().requires_grad_(), [one.clone().requires_grad_() for one in origin]]
        found = theirs.head.get_losses(None, x, y, strides, rows, given[0], given[1], dtype=torch.float32)
        found["total_loss"].backward()

    def detzoo_() -> None:
        assert predictions.class_logits is not None
        assert predictions.quality_logits is not None
        own = dataclasses.replace(
            predictions,
            class_logits=predictions.class_logits.clone().requires_grad_(),
            deltas=predictions.deltas.clone().requires_grad_(),
            quality_logits=predictions.quality_logits.clone().requires_grad_(),
        )
        terms = ours.loss(own, candidates, targets, ours.matcher(candidates, targets, own))  # type: ignore[operator]
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]

    seconds = taking_turns({"detzoo": detzoo_, "libreyolo": libreyolo}, repeats)
    return {"what": "SimOTA and loss", **seconds, "times as fast": seconds["libreyolo"] / seconds["detzoo"]}


@torch.inference_mode()
def times_of_networks(file: Path, threads: int, repeats: int) -> list[dict[str, Any]]:
    import onnxruntime

    from detzoo.prediction.apply_switches import apply_switches
    from detzoo.runtime.switches import Switches

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options)
    batch = image_batch(1, size=(416, 416))
    pixels = batch.pixels.numpy()

    def built(**switches: bool) -> Detector:
        made = detzoo.build("yolox_nano_coco", weights=None)
        detzoo.convert_weights(made, file, source="yolox")
        apply_switches(made.eval(), Switches(**switches))  # type: ignore[arg-type]  # none of them is the precision
        return made

    plain, folded, compiled = built(), built(fold=True, channels_last=True), built(fold=True, compile=True)
    sides: dict[str, Callable[[], Any]] = {
        "onnxruntime": lambda: session.run(None, {"images": pixels}),
        "eager": lambda: plain.network(batch),
        "folded": lambda: folded.network(batch),
        "compiled": lambda: compiled.network(batch),
    }
    rows = []
    for turn, calls in (("one call", 1), ("five calls after one that is not timed", 6)):
        seconds = taking_turns(sides, 5 * repeats if calls == 1 else 2 * repeats, calls)
        ratios = {f"{name} of onnxruntime's speed": seconds["onnxruntime"] / value for name, value in seconds.items()}
        rows.append({"what": "YOLOX-Nano, 416 px, one image", "a turn": turn, **seconds, **ratios})
    return rows


def taking_turns(sides: dict[str, Callable[[], Any]], repeats: int, calls: int = 1) -> dict[str, float]:
    """Median seconds of each side.

    Args:
        sides: name -> what is timed.
        repeats: turns that count, after two that warm up.
        calls: one after the other in a turn. With more than one the first is not timed: it finds the caches full of
            the other sides' data and their threads still at work, which the frames of a video do not.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 2):
        for name, run in sides.items():
            if calls > 1:
                run()
            for _ in range(max(1, calls - 1)):
                start = time.perf_counter()
                run()
                if turn > 1:
                    found[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in found.items()}


if __name__ == "__main__":
    main()
