"""``predict`` of torchvision's RetinaNet and FCOS recipes against torchvision itself, with the same weights.

    python benchmarks/retinanet_speed.py [--compile] [--channels-last] [--fold] [--batch 1 8] [--out FILE]

As ``rcnn_speed.py``, whose images, clocks and rounds these are: both sides run in turn in one process, torchvision
eagerly; the ratio is the median of the ratios of the pairs; equal numbers of detections are asserted before anything is
timed. Weights are random, scaled so that some thousand scores of an image pass the threshold, as a trained network's
do. Images are blurred noise, 480 x 640 px, which is 800 x 1066 px for the network.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

from rcnn_speed import (  # type: ignore[import-not-found]
    CLOCKS,
    MALLOC,
    as_tensor,
    predict,
    processor,
    report,
)

if __name__ == "__main__" and not MALLOC.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], dict(os.environ) | MALLOC)

import torch
import torchvision
from torch import Tensor, nn

from detzoo import build, convert_weights
from detzoo.prediction.apply_switches import apply_switches, noise
from detzoo.runtime.switches import Switches
from detzoo.testing.parity import freeze_norms, leaves, spread, spread_chain

FROZEN_EPS: Final = {"retinanet_resnet50_fpn": 0.0, "fcos_resnet50_fpn": 1e-5}
SURE: Final = {"retinanet_resnet50_fpn": -8.0, "fcos_resnet50_fpn": -7.0}
"""Mean of the class logits: a trained detector is sure of nothing nearly everywhere."""


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.detectors:
        theirs = seeded(name, [as_tensor(image) for image in noise(2, (480, 640))])
        ours = build(name, weights=None).eval()
        convert_weights(ours, theirs.state_dict(), source="torchvision")
        apply_switches(ours, Switches(compile=args.compile, channels_last=args.channels_last, fold=args.fold))
        for batch in args.batch:
            rows.append(report(detector=name, what="predict", batch=batch, **predict(theirs, ours, batch, args)))
    result = {
        "machine": {"processor": processor(), "threads": args.threads, "python": platform.python_version()},
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
        "switches": {"compile": args.compile, "channels_last": args.channels_last, "fold": args.fold},
        "clock": args.clock,
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
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--fold", action="store_true")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


@torch.no_grad()
def seeded(name: str, images: list[Tensor]) -> Any:
    """torchvision's model with frozen batch norms that know the images, and predictors like trained ones."""
    torch.manual_seed(0)
    model: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    for part, norm in model.backbone.body.named_modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
            if part.endswith("bn3"):
                norm.weight.mul_(0.2)  # small steps: else 50 random layers amplify rounding
    batch = model.transform(images, None)[0]
    model.train()
    model.backbone(batch.tensors)
    model.eval()
    freeze_norms(model.backbone.body, FROZEN_EPS[name])
    maps = list(model.backbone(batch.tensors).values())
    classes, boxes = model.head.classification_head, model.head.regression_head
    spread(classes.cls_logits, spread_chain(leaves(classes.conv), maps), 1.5)
    classes.cls_logits.bias.add_(SURE[name])
    seen = spread_chain(leaves(boxes.conv), maps)
    if hasattr(boxes, "bbox_ctrness"):
        spread(boxes.bbox_ctrness, seen, 1.0)
        spread(boxes.bbox_reg, seen, 1.0)
        boxes.bbox_reg.bias.add_(2.0)  # strides to the edges
    else:
        spread(boxes.bbox_reg, seen, 0.2)
    return model


if __name__ == "__main__":
    main()
