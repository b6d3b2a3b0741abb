"""``predict`` and a training step of the DETR family against transformers, with the same weights.

    python benchmarks/detr_speed.py [--detectors NAME] [--batch 1 8] [--compile] [--fold] [--train | --memory] [--out F]

As ``rcnn_speed.py``, whose images, clocks and rounds these are: both sides run in turn in one process, transformers
eagerly; the ratio is the median of the ratios of the pairs. ``predict`` goes from the bytes of an image of 480 x 640 px
to detections on either side: image processor, model and post-processing. The highest scores of the first image are
asserted to be equal, but for what rounding does, before anything is timed. Weights are random. ``--train`` times
forward, backward and an SGD step of two images with three objects each, prepared every time. ``--memory`` runs each
side alone in a process of its own, and gives the largest memory that it held above what the model and the libraries
take.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rcnn_speed import (  # type: ignore[import-not-found]
    BOXES,
    CLOCKS,
    LABELS,
    MALLOC,
    descend,
    in_turn,
    our_step,
    processor,
    report,
)

if __name__ == "__main__" and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import torch
import transformers
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    DFineConfig,
    DFineForObjectDetection,
    RfDetrConfig,
    RfDetrForObjectDetection,
    RfDetrImageProcessor,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
)

from detzoo import build, convert_weights
from detzoo.prediction.apply_switches import apply_switches, noise
from detzoo.runtime.switches import Switches

SIZE: Final = (480, 640)
KEPT: Final = 50
"""Scores that are compared: further down, ties of random weights fall in any order."""


def rtdetr_r18() -> Any:
    backbone = RTDetrResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", out_indices=[2, 3, 4]
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[128, 256, 512],
        hidden_expansion=0.5,
        decoder_layers=3,
        num_labels=80,
    )
    return RTDetrForObjectDetection(config), RTDetrImageProcessor()


def rtdetr_r50() -> Any:
    return RTDetrForObjectDetection(RTDetrConfig(num_labels=80)), RTDetrImageProcessor()


def rfdetr_nano() -> Any:
    backbone = {
        "model_type": "rf_detr_dinov2", "image_size": 384, "num_windows": 2, "hidden_size": 384,
        "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 16, "out_indices": [3, 6, 9, 12],
    }  # fmt: skip
    config = RfDetrConfig(
        backbone_config=backbone, decoder_n_points=2, decoder_layers=2, dropout=0.0, layer_norm_eps=1e-6, num_labels=91
    )
    return RfDetrForObjectDetection(config), RfDetrImageProcessor(size={"height": 384, "width": 384})


def detr_r50() -> Any:
    return DetrForObjectDetection(DetrConfig(num_labels=91)), DetrImageProcessor()


MODELS: Final[dict[str, Callable[[], Any]]] = {
    "rtdetr_r18vd_coco": rtdetr_r18,
    "rtdetr_r50vd_coco": rtdetr_r50,
    "dfine_l_coco": lambda: (DFineForObjectDetection(DFineConfig(num_labels=80)), RTDetrImageProcessor()),
    "rfdetr_nano_coco": rfdetr_nano,
    "detr_resnet50_coco": detr_r50,
}
"""Published sizes; where it says no more, they are the defaults of transformers' configurations."""


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.side:
        peak(args.detectors[0], args.side, args.batch[0])
        return
    rows = []
    for name in args.detectors:
        if args.memory:
            rows += [
                report(detector=name, what="memory", batch=batch, **memory(name, batch, args)) for batch in args.batch
            ]
            continue
        theirs, prepare, ours = pair(name)
        apply_switches(ours, Switches(compile=args.compile, fold=args.fold))
        if args.train:
            images = noise(2, SIZE)
            taken = in_turn(their_step(theirs, prepare, images), our_step(ours, images), args)
            rows.append(report(detector=name, what="training step", batch=2, **named(taken)))
            continue
        for batch in args.batch:
            rows.append(
                report(detector=name, what="predict", batch=batch, **predict(theirs, prepare, ours, batch, args))
            )
    result = {
        "machine": {"processor": processor(), "threads": args.threads, "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "switches": {"compile": args.compile, "fold": args.fold},
        "clock": args.clock,
        "rows": rows,
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=40, help="for each row; three rounds at least")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--side", choices=("transformers", "detzoo"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def pair(name: str) -> tuple[Any, Any, Any]:
    """transformers' model and image processor, and detzoo's detector with the same weights."""
    torch.manual_seed(0)
    theirs, prepare = MODELS[name]()
    ours = build(name, weights=None)
    convert_weights(ours, theirs.state_dict(), source="transformers")
    return theirs.eval(), prepare, ours.eval()


def their_predict(model: Any, prepare: Any, images: list[Any]) -> Callable[[], Any]:
    @torch.inference_mode()
    def call() -> Any:
        inputs = prepare(images=images, return_tensors="pt")
        sizes = [image.shape[:2] for image in images]
        return prepare.post_process_object_detection(model(**inputs), 0.0, sizes)

    return call


def predict(theirs: Any, prepare: Any, ours: Any, batch: int, args: Any) -> dict[str, Any]:
    images = noise(batch, SIZE)
    call = their_predict(theirs, prepare, images)

    def own() -> Any:
        return ours.predict(images, channels="rgb", score_threshold=0.0)

    expected = call()[0]["scores"].sort(descending=True).values[:KEPT]
    difference = float((expected - own()[0].scores[:KEPT]).abs().max())
    allowed = 1e-5 + 3 * sensitivity(theirs, prepare, images, expected)
    assert difference < allowed, (difference, allowed)
    return named(in_turn(call, own, args)) | {"largest difference of scores": difference}


def sensitivity(model: Any, prepare: Any, images: list[Any], expected: Any) -> float:
    """How far transformers' own scores move when its weights move by their last digits.

    A random network's queries are nearly equal at the cut of the best ones: rounding alone may choose others.
    """
    moved = copy.deepcopy(model)
    for value in moved.parameters():
        value.data *= 1 + 3e-7 * torch.randn_like(value)
    scores = their_predict(moved, prepare, images)()[0]["scores"].sort(descending=True).values[:KEPT]
    return float((expected - scores).abs().max())


def named(taken: dict[str, Any]) -> dict[str, Any]:
    """The clock's row, with the other side's name."""
    return {"transformers_ms" if key == "torchvision_ms" else key: value for key, value in taken.items()}


def their_step(model: Any, prepare: Any, images: list[Any]) -> Callable[[], None]:
    """One training step of transformers' model."""
    corners = torch.from_numpy(BOXES)
    middle, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    scale = torch.tensor([SIZE[1], SIZE[0]])
    boxes = torch.cat([middle / scale, sides / scale], dim=1)
    labels = [{"class_labels": torch.from_numpy(LABELS), "boxes": boxes} for _ in images]
    optimizer = torch.optim.SGD([p for p in model.train().parameters() if p.requires_grad], lr=0.0)
    return lambda: descend(
        {"loss": model(**prepare(images=images, return_tensors="pt"), labels=labels).loss}, optimizer
    )


def memory(name: str, batch: int, args: Any) -> dict[str, Any]:
    """Peak MB of each side, in a process of its own; the median of three, as an allocator's luck is a tenth of it."""
    found = {}
    for side in ("transformers", "detzoo"):
        command = [sys.executable, __file__, "--detectors", name, "--batch", str(batch), "--side", side]
        command += ["--threads", str(args.threads)]
        answers = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
        found[f"{side}_mb"] = round(statistics.median(float(answer.splitlines()[-1]) for answer in answers))
    return found


def peak(name: str, side: str, batch: int) -> None:
    theirs, prepare, ours = pair(name)
    images = noise(batch, SIZE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side == "transformers":
        their_predict(theirs, prepare, images)()
    else:
        ours.predict(images, channels="rgb")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


if __name__ == "__main__":
    main()
